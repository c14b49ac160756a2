"""What a message goes over, where it or its send says so."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_outbox import ConfigurationError, DeliveryError, Mail, Message, MessageError
from flask_outbox._cli import mail_cli
from flask_outbox.signals import message_sent
from servers.scripted import ScriptedServer

SECRET = "s3cret"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """One that lets anyone in."""
    with ScriptedServer(
        capabilities=["PIPELINING", "AUTH PLAIN"], accounts={"me": SECRET}
    ) as server:
        yield server


@pytest.fixture
def url(server: ScriptedServer) -> str:
    return f"smtp://me:{SECRET}@127.0.0.1:{server.port}"


def message(**fields: Any) -> Message:
    return Message(**{"subject": "Hello", "recipients": ["a@example.org"], "body": "Hi"} | fields)


def stored(app: Flask) -> bytes:
    return b"".join(
        file.read_bytes() for file in Path(app.instance_path).rglob("*") if file.is_file()
    )


def work(app: Flask) -> str:
    result = app.test_cli_runner().invoke(mail_cli, ["worker", "--once"])
    assert result.exit_code == 0, result.output
    return result.output


# -- now -------------------------------------------------------------------------------------------------------------


def test_the_immediate_engine_logs_in_with_the_whole_url(
    mail: Mail, server: ScriptedServer, url: str
) -> None:
    assert mail.send(message(), engine="immediate", transport=url).state == "sent"
    [session] = server.sessions
    assert any(line.startswith("AUTH PLAIN ") for line in session.commands)
    assert len(server.messages) == 1


def test_sends_to_one_url_share_its_connection(
    mail: Mail, server: ScriptedServer, url: str
) -> None:
    for _ in range(3):
        mail.send(message(), engine="immediate", transport=url)
    assert (len(server.sessions), len(server.messages)) == (1, 3)


def test_the_send_wins_over_the_message(mail: Mail, server: ScriptedServer, url: str) -> None:
    mail.send(message(transport="null://"), engine="immediate", transport=url)
    assert len(server.messages) == 1


def test_a_message_may_name_its_transport(mail: Mail, server: ScriptedServer, url: str) -> None:
    mail.send(message(transport=url), engine="immediate")
    assert len(server.messages) == 1


def test_nobody_but_the_server_learns_the_password(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    mail, heard = Mail(app), []
    caplog.set_level(logging.DEBUG)

    def hear(sender: object, report: object, **more: object) -> None:
        heard.append(repr(report))

    refusing = ScriptedServer(
        capabilities=["PIPELINING", "AUTH PLAIN"],
        accounts={"me": SECRET},
        script={"RCPT": ["550 5.1.1 No", None]},
    )
    with app.app_context(), refusing as server, message_sent.connected_to(hear):
        url = f"smtp://me:{SECRET}@127.0.0.1:{server.port}"
        with pytest.raises(DeliveryError) as caught:
            mail.send(message(), engine="immediate", transport=url)
        mail.send(message(), engine="immediate", transport=url)
    app.extensions["flask_outbox"].close()
    assert caught.value.transport == f"smtp://me@127.0.0.1:{server.port}"
    assert len(heard) == 1
    for seen in (caplog.text, str(caught.value), repr(caught.value.report), *heard):
        assert SECRET not in seen


def test_what_is_sent_and_its_connection_do_not_show_the_password(mail: Mail, url: str) -> None:
    with mail.connect() as connection:
        connection.options = connection.options._replace(engine="immediate", transport=url)
        sent = message(transport=url)
        connection.send(sent)
        assert SECRET not in f"{sent!r} {connection!r} {connection.options!r}"
        assert "engine='immediate'" in repr(connection.options)


# -- over the outbox -------------------------------------------------------------------------------------------------


def test_a_url_without_a_password_is_stored_and_the_worker_sends_over_it(
    mail: Mail, app: Flask, server: ScriptedServer
) -> None:
    url = f"smtp://127.0.0.1:{server.port}?pool=1"
    receipt = mail.send(message(), transport=url)
    work(app)
    view = mail.get(receipt.id)
    assert view is not None
    assert (view.state, view.transport, view.attempts[0].transport) == ("sent", url, url)
    assert len(server.messages) == 1


def test_a_url_with_a_password_is_refused_with_the_cure_and_nothing_is_stored(
    mail: Mail, app: Flask, url: str
) -> None:
    with pytest.raises(
        ConfigurationError, match=r"engine='immediate', or .* MAIL_TRANSPORTS"
    ) as caught:
        mail.send(message(), transport=url)
    assert SECRET not in str(caught.value)
    assert not Path(app.instance_path).exists()


def test_the_password_of_a_message_that_is_sent_over_another_transport_is_not_stored(
    mail: Mail, app: Flask, url: str
) -> None:
    mail.send(message(transport=url), transport="default")
    assert SECRET.encode() not in stored(app)


def test_a_paused_url_is_resumed_by_its_name(mail: Mail, app: Flask) -> None:
    refusing = ScriptedServer(script={"MAIL": ["530 5.7.0 Log in first", None]})
    with refusing as server:
        url = f"smtp://127.0.0.1:{server.port}"
        mail.send(message(), transport=url)
        work(app)
        assert list(mail.status().paused) == [url]
    result = app.test_cli_runner().invoke(mail_cli, ["resume", url])
    assert result.output == f"Transport {url!r} is open.\n"
    assert mail.status().paused == {}


# -- what is none ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["immediate", "outbox"])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(mail: Mail, engine: str) -> None:
    with pytest.raises(
        MessageError, match=r"'default', or .* smtp://, smtps://, lmtp://"
    ) as caught:
        mail.send(message(), transport="marketing", engine=engine)
    assert caught.value.field == "transport"
    assert "marketing" not in str(caught.value)


def test_it_is_checked_although_sending_is_suppressed(mail: Mail, app: Flask) -> None:
    app.config["MAIL_SUPPRESS_SEND"] = True
    with pytest.raises(MessageError, match="'transport'"):
        mail.send(message(), transport="marketing")


def test_a_url_too_long_for_the_outbox_is_an_error(mail: Mail) -> None:
    url = f"file:///{'x' * 300}"
    with pytest.raises(MessageError, match="255 characters"):
        mail.send(message(), transport=url)


def test_the_default_may_be_named(mail: Mail) -> None:
    receipt = mail.send(message(transport="null://"), transport="default")
    view = mail.get(receipt.id)
    assert view is not None
    assert view.transport == "default"


def test_a_connection_of_ones_own_gives_way_to_it(app: Flask, capsys: Any) -> None:
    app.config["MAIL_ENGINE"] = "immediate"
    mail = Mail(app)
    with app.app_context(), mail.connect() as connection:
        connection.host = io.StringIO()  # type: ignore[assignment]  # nothing that could send
        connection.host.quit = lambda: None  # type: ignore[union-attr,method-assign]
        assert connection.send(message(transport="console://")).state == "sent"
    app.extensions["flask_outbox"].close()
    assert "Subject: Hello" in capsys.readouterr().err
