"""Transports with names: what messages go over that ask for one, and what is known of them outside."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_outbox import Mail, Message, MessageError
from flask_outbox._cli import mail_cli
from servers.scripted import DROP, Item, ScriptedServer

SECRET = "s3cret"


@pytest.fixture
def servers() -> Iterator[tuple[ScriptedServer, ScriptedServer]]:
    """The default's, and marketing's, which asks for a login."""
    lets_in = ScriptedServer(["PIPELINING", "AUTH PLAIN"], accounts={"me": SECRET})
    with ScriptedServer() as default, lets_in as marketing:
        yield default, marketing


@pytest.fixture
def app(app: Flask, servers: tuple[ScriptedServer, ScriptedServer]) -> Flask:
    default, marketing = servers
    app.config.update(
        MAIL_URL=f"smtp://127.0.0.1:{default.port}",
        MAIL_TRANSPORTS={"marketing": f"smtp://me:{SECRET}@127.0.0.1:{marketing.port}"},
    )
    return app


def message(**fields: Any) -> Message:
    return Message(**{"subject": "Hello", "recipients": ["a@example.org"], "body": "Hi"} | fields)


def run(app: Flask, *arguments: str) -> str:
    return app.test_cli_runner().invoke(mail_cli, list(arguments)).output


def work(app: Flask) -> None:
    result = app.test_cli_runner().invoke(mail_cli, ["worker", "--once"])
    assert result.exit_code == 0, result.output


def arrived(*servers: ScriptedServer) -> list[int]:
    return [len(server.messages) for server in servers]


@pytest.mark.parametrize("engine", ["outbox", "immediate", "background"])
def test_a_message_goes_over_the_transport_that_it_names(
    mail: Mail, app: Flask, servers: tuple[ScriptedServer, ScriptedServer], engine: str
) -> None:
    mail.send(message(transport="marketing"), engine=engine)
    mail.send(message(), engine=engine)
    work(app)
    app.extensions["flask_outbox"].close()
    assert arrived(*servers) == [1, 1]


def test_the_send_wins_over_the_message(
    mail: Mail, servers: tuple[ScriptedServer, ScriptedServer]
) -> None:
    mail.send(message(transport="default"), transport="marketing", engine="immediate")
    assert arrived(*servers) == [0, 1]


def test_of_one_with_a_password_only_the_name_is_stored(mail: Mail, app: Flask) -> None:
    receipt = mail.send(message(), transport="marketing")
    view = mail.get(receipt.id)
    assert view is not None
    assert view.transport == "marketing"
    for file in Path(app.instance_path).rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


@pytest.mark.parametrize("engine", ["immediate", "outbox"])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(mail: Mail, engine: str) -> None:
    with pytest.raises(MessageError, match=r"must be 'default', 'marketing', or begin") as caught:
        mail.send(message(), transport="billing", engine=engine)
    assert caught.value.field == "transport"


def test_mail_for_one_that_is_configured_no_more_waits_and_says_so(
    mail: Mail, app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    receipt = mail.send(message(), transport="marketing")
    app.config["MAIL_TRANSPORTS"] = None
    mail.init_app(app)
    work(app)
    view = mail.get(receipt.id)
    assert view is not None
    assert view.state == "retrying"
    assert view.recipients[0].text == "no transport named 'marketing' is configured in this process"
    assert "no transport named 'marketing' is configured" in caplog.text


def test_one_is_paused_and_resumed_by_its_name_and_the_others_go_on(
    mail: Mail, app: Flask, servers: tuple[ScriptedServer, ScriptedServer]
) -> None:
    assert run(app, "pause", "marketing") == "Transport 'marketing' is paused.\n"
    mail.send(message(transport="marketing"))
    mail.send(message())
    work(app)
    assert arrived(*servers) == [1, 0]
    assert run(app, "resume", "marketing") == "Transport 'marketing' is open.\n"
    work(app)
    assert arrived(*servers) == [1, 1]


def test_a_wrong_password_pauses_its_transport_alone(
    mail: Mail, app: Flask, servers: tuple[ScriptedServer, ScriptedServer]
) -> None:
    servers[1].accounts["me"] = "another"
    mail.send(message(transport="marketing"))
    mail.send(message())
    work(app)
    assert list(mail.status().paused) == ["marketing"]
    assert arrived(*servers) == [1, 0]


def test_a_test_message_may_go_over_one(
    mail: Mail, app: Flask, servers: tuple[ScriptedServer, ScriptedServer]
) -> None:
    run(app, "send-test", "a@example.org", "--transport", "marketing")
    assert arrived(*servers) == [0, 1]


def test_the_status_shows_each_with_what_waits_for_it(mail: Mail, app: Flask) -> None:
    app.config["MAIL_TRANSPORTS"]["billing"] = "null://"
    mail.init_app(app)
    for name in ("marketing", "billing", "smtp://mx.example.net"):
        mail.send(message(), transport=name)
    mail.send(message(transport="billing"), priority="low")
    run(app, "pause", "marketing")
    del app.config["MAIL_TRANSPORTS"]["billing"]
    mail.init_app(app)
    lines = run(app, "status").splitlines()
    found = {line.split("  ")[0]: line.split()[1:] for line in lines if line}
    assert found["TRANSPORT"] == ["WAITING", "MAIL", "IS"]
    assert found["default"] == ["0", "sent"]
    assert found["marketing"] == ["1", "kept:", "paused"]
    assert found["smtp://mx.example.net"] == ["1", "sent"]
    assert found["billing"] == ["2", "kept:", "not", "configured"]


def test_the_status_is_silent_about_transports_where_there_is_but_one(
    mail: Mail, app: Flask
) -> None:
    app.config["MAIL_TRANSPORTS"] = None
    mail.init_app(app)
    mail.send(message())
    assert "TRANSPORT" not in run(app, "status")


def test_the_doctor_looks_at_each_server(app: Flask, mail: Mail) -> None:
    app.config["MAIL_TRANSPORTS"]["both"] = "failover(marketing smtp://127.0.0.1:1)"
    mail.init_app(app)
    found = run(app, "doctor")
    assert "ok       server: No login is set, none was demanded" in found
    assert "ok       server marketing: The login is accepted" in found
    assert "FAILED   server both: " in found
    assert SECRET not in found


def test_the_doctor_says_that_only_messages_without_a_transport_have_no_server(
    app: Flask, mail: Mail
) -> None:
    app.config.update(MAIL_URL=None, MAIL_SERVER="")
    mail.init_app(app)
    found = run(app, "doctor")
    assert (
        "FAILED   server: No mail server is configured for messages that name no transport."
        in found
    )
    assert "ok       server marketing: " in found


def test_without_a_default_the_named_ones_still_send(
    app: Flask, mail: Mail, servers: tuple[ScriptedServer, ScriptedServer]
) -> None:
    app.config.update(MAIL_URL=None, MAIL_SERVER="")
    mail.init_app(app)
    mail.send(message(transport="marketing"))
    mail.send(message())
    work(app)
    assert arrived(*servers) == [0, 1]
    assert mail.status().counts == {"sent": 1, "retrying": 1}


# -- what one says besides ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["marketing", "default"])
def test_one_may_say_where_bounces_and_answers_go(
    app: Flask, mail: Mail, servers: tuple[ScriptedServer, ScriptedServer], name: str
) -> None:
    own = {
        "url": f"smtp://127.0.0.1:{servers[0].port}",
        "envelope_from": "news-bounces@example.org",
        "reply_to": "News <news@example.org>",
    }
    app.config.update(MAIL_URL=None, MAIL_TRANSPORTS={name: own}, MAIL_ENGINE="immediate")
    app.config.update(MAIL_ENVELOPE_FROM="bounces@example.org", MAIL_REPLY_TO="office@example.org")
    mail.init_app(app)
    mail.send(message(), transport=None if name == "default" else name)
    mail.send(message(transport=name, reply_to="me@example.org"))
    first, second = servers[0].messages
    assert first.sender == second.sender == "news-bounces@example.org"
    assert b"Reply-To: News <news@example.org>" in first.content
    assert b"Reply-To: me@example.org" in second.content


def test_what_one_says_is_for_its_own_messages_alone(
    app: Flask, mail: Mail, servers: tuple[ScriptedServer, ScriptedServer]
) -> None:
    own = {"url": "null://", "envelope_from": "news-bounces@example.org"}
    app.config.update(MAIL_TRANSPORTS={"marketing": own}, MAIL_ENGINE="immediate")
    mail.init_app(app)
    mail.send(message())
    assert [sent.sender for sent in servers[0].messages] == ["app@example.org"]


def test_what_is_shown_of_a_message_is_as_its_transport_has_it(app: Flask, mail: Mail) -> None:
    own = {"url": "null://", "reply_to": "news@example.org"}
    app.config["MAIL_TRANSPORTS"] = {"marketing": own}
    mail.init_app(app)
    assert "Reply-To: news@example.org" in message(transport="marketing").as_string()


# -- several in one ----------------------------------------------------------------------------------------------


def attempts(mail: Mail, id: str) -> list[str]:
    view = mail.get(id)
    assert view is not None
    return [attempt.transport for attempt in view.attempts]


def test_the_attempt_names_the_road_that_took_the_mail(
    app: Flask, mail: Mail, caplog: pytest.LogCaptureFixture
) -> None:
    with ScriptedServer() as gone:
        pass
    app.config["MAIL_URL"] = f"failover(smtp://127.0.0.1:{gone.port} marketing)"
    mail.init_app(app)
    receipt = mail.send(message())
    caplog.set_level(logging.WARNING)
    work(app)
    assert attempts(mail, receipt.id) == ["marketing"]
    assert f"transport 'smtp://127.0.0.1:{gone.port}' is set aside" in caplog.text


def test_where_no_road_takes_it_the_attempt_names_what_was_asked_for(
    app: Flask, mail: Mail
) -> None:
    with ScriptedServer() as gone:
        pass
    app.config["MAIL_URL"] = f"failover(smtp://127.0.0.1:{gone.port} smtp://127.0.0.1:1)"
    mail.init_app(app)
    receipt = mail.send(message())
    work(app)
    view = mail.get(receipt.id)
    assert view is not None
    assert (view.state, attempts(mail, receipt.id)) == ("retrying", ["default"])


def test_faults_of_all_accounts_pause_what_was_asked_for(
    app: Flask, mail: Mail, servers: tuple[ScriptedServer, ScriptedServer]
) -> None:
    servers[1].accounts["me"] = "another"
    app.config["MAIL_URL"] = "failover(marketing)"
    mail.init_app(app)
    mail.send(message())
    work(app)
    assert list(mail.status().paused) == ["default"]


def test_several_in_one_may_be_brought_along_and_the_worker_sends_over_them(
    app: Flask, mail: Mail, servers: tuple[ScriptedServer, ScriptedServer]
) -> None:
    with ScriptedServer() as gone:
        pass
    url = f"failover(smtp://127.0.0.1:{gone.port} smtp://127.0.0.1:{servers[0].port})"
    receipt = mail.send(message(), transport=url)
    work(app)
    view = mail.get(receipt.id)
    assert view is not None
    assert (view.state, view.transport) == ("sent", url.replace(" ", "|"))
    assert attempts(mail, receipt.id) == [f"smtp://127.0.0.1:{servers[0].port}"]


@pytest.mark.parametrize("guarantee", ["at_least_once", "at_most_once"])
@pytest.mark.parametrize(
    ("step", "act", "state"),
    [
        ("MAIL", DROP, {"at_least_once": "sent", "at_most_once": "sent"}),
        ("DATA", DROP, {"at_least_once": "sent", "at_most_once": "sent"}),
        ("CONTENT", DROP, {"at_least_once": "retrying", "at_most_once": "uncertain"}),
    ],
)
def test_over_the_outbox_the_guarantee_holds_on_all_roads_together(
    app: Flask,
    mail: Mail,
    servers: tuple[ScriptedServer, ScriptedServer],
    guarantee: str,
    step: str,
    act: Item,
    state: dict[str, str],
) -> None:
    with ScriptedServer(script={step: act}) as first:
        app.config["MAIL_URL"] = f"failover(smtp://127.0.0.1:{first.port} marketing)"
        mail.init_app(app)
        receipt = mail.send(message(), guarantee=guarantee)
        work(app)
    view = mail.get(receipt.id)
    assert view is not None
    assert view.state == state[guarantee]
    assert arrived(first, servers[1]) == [0, int(view.state == "sent")]


def test_of_many_letters_none_is_lost_or_repeated_while_a_server_goes_down(
    app: Flask, mail: Mail, servers: tuple[ScriptedServer, ScriptedServer]
) -> None:
    script: dict[str, Item | list[Item]] = {"MAIL": [*[None] * 10, *[DROP] * 200]}
    with ScriptedServer(script=script) as failing:
        app.config["MAIL_URL"] = f"roundrobin(smtp://127.0.0.1:{failing.port} marketing)"
        mail.init_app(app)
        mail.send_many(message(subject=f"{n:03}") for n in range(100))
        work(app)
    assert mail.status().counts == {"sent": 100}
    contents = [*failing.contents, *servers[1].contents]
    subjects = [content.partition(b"Subject: ")[2][:3] for content in contents]
    assert sorted(subjects) == [b"%03d" % n for n in range(100)]
    assert len(failing.messages) == 10
