"""``flask mail …``, run as a person runs it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from flask_outbox import Mail, Message, _cli
from flask_outbox._cli import mail_cli
from flask_outbox._terminal import closed
from flask_outbox.ledger.reports import ClosedView
from servers.scripted import ScriptedServer


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(mail_cli, arguments)


def send(mail: Mail, **fields: Any) -> str:
    message = Message(**{"subject": "Hello", "recipients": ["a@example.org"], "body": "x"} | fields)
    return mail.send(message).id


def test_status_counts_and_says_that_nobody_works(app: Flask, mail: Mail) -> None:
    send(mail)
    send(mail)
    result = run(app, "status")
    assert result.exit_code == 0
    assert "queued  2" in result.output
    assert "Oldest due: " in result.output
    assert "No worker is running." in result.output


def test_status_of_an_outbox_that_was_never_used(app: Flask, mail: Mail) -> None:
    result = run(app, "status")
    assert (result.exit_code, "outbox.sqlite." in result.output) == (0, True)


def test_list_shows_the_newest_first(app: Flask, mail: Mail) -> None:
    first, second = send(mail, subject="One"), send(mail, recipients=["a@x.org", "b@x.org"])
    lines = run(app, "list").output.splitlines()
    assert lines[0].split() == ["ID", "ACCEPTED", "STATE", "TRIES", "TO", "SUBJECT"]
    assert [line.split()[0] for line in lines[1:]] == [second, first]
    assert "a@x.org and 1 more" in lines[1]


def test_list_can_be_narrowed_to_a_state(app: Flask, mail: Mail) -> None:
    send(mail)
    assert run(app, "list", "--state", "dead").output == "No messages.\n"
    assert run(app, "list", "--state", "nonsense").exit_code == 2


def test_show_tells_everything_of_a_message(app: Flask, mail: Mail) -> None:
    letter_id = send(mail)
    output = run(app, "show", letter_id).output
    assert f"<{letter_id}@example.org>" in output
    assert "a@example.org" in output
    assert "No attempt yet." in output


def test_show_tells_what_was_said_at_the_last_try_where_it_failed(app: Flask) -> None:
    with ScriptedServer(script={"RCPT": "550 5.1.1 Nobody"}) as server:
        app.config["MAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
        mail = Mail(app)
        with app.app_context():
            letter_id = send(mail)
            run(app, "worker", "--once")
    output = run(app, "show", letter_id).output
    _, _, said = output.partition("What was said at try 1, with the seconds:\n")
    assert "C: RCPT TO:<a@example.org>\n" in said
    assert "S: 550 5.1.1 Nobody\n" in said


def test_show_of_what_does_not_exist_is_an_error(app: Flask, mail: Mail) -> None:
    result = run(app, "show", "nothing")
    assert (result.exit_code, result.output) == (1, "Error: No message has the id nothing.\n")


def test_what_is_held_is_shown_with_its_reason_and_sent_or_cancelled_by_hand(app: Flask) -> None:
    app.config["MAIL_ALLOWED_RECIPIENTS"] = "@example.org"
    mail = Mail(app)
    with app.app_context():
        first, second = (send(mail, recipients=["a@x.org"]) for _ in range(2))
    assert "held: MAIL_ALLOWED_RECIPIENTS does not allow a@x.org" in run(app, "show", first).output
    assert run(app, "retry", first).output == f"{first} is queued, for those who did not get it.\n"
    assert run(app, "cancel", second).output == f"{second} is cancelled.\n"
    assert "held" not in run(app, "list").output
    app.extensions["flask_outbox"].close()


def test_what_is_sent_by_hand_or_cancelled_must_be_there(app: Flask, mail: Mail) -> None:
    for command in ("retry", "cancel"):
        result = run(app, command, "x")
        assert (result.exit_code, result.output) == (1, "Error: No message has the id x.\n")


def test_what_cannot_be_retried_is_told_with_its_state(app: Flask, mail: Mail) -> None:
    waiting = send(mail)
    assert (
        run(app, "retry", waiting).output == f"Error: {waiting} cannot be retried: it is queued.\n"
    )


def test_several_are_cancelled_and_sent_again_by_their_ids(app: Flask, mail: Mail) -> None:
    both = send(mail), send(mail)
    assert run(app, "cancel", *both).output.count("is cancelled.") == 2
    assert run(app, "retry", *both).output.count("is queued") == 2


def test_one_that_cannot_be_cancelled_does_not_keep_the_others(app: Flask, mail: Mail) -> None:
    waiting = send(mail)
    result = run(app, "cancel", "x", waiting, "y")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{waiting} is cancelled.",
        "Error: No message has the id x.",
        "Error: No message has the id y.",
    ]


def test_all_of_a_state_are_cancelled_and_sent_again(
    app: Flask, mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cli, "_PAGE", 2)
    waiting = [send(mail) for _ in range(5)]
    later = mail.send(
        Message("Hello", recipients=["a@example.org"], body="x"), delay=timedelta(days=1)
    )
    assert run(app, "cancel", "--state", "scheduled").stdout == (
        "1 scheduled messages are cancelled.\n"
    )
    assert run(app, "cancel", "--state", "queued").stdout == "5 queued messages are cancelled.\n"
    assert run(app, "retry", "--state", "cancelled").stdout.startswith("6 cancelled messages")
    assert {view.id for view in mail.messages(state="queued")} == {*waiting, later.id}


@pytest.mark.parametrize("arguments", [("retry",), ("cancel", "x", "--state", "queued")])
def test_ids_or_a_state_are_needed_and_not_both(
    app: Flask, mail: Mail, arguments: tuple[str, ...]
) -> None:
    result = run(app, *arguments)
    assert (result.exit_code, "Give the ids of messages" in result.output) == (2, True)


def test_show_says_when_a_message_is_due(app: Flask, mail: Mail) -> None:
    message = Message("Hello", recipients=["a@example.org"], body="x")
    later = mail.send(message, at=datetime(2040, 1, 1, 12, tzinfo=UTC)).id
    assert ", scheduled, due 2040-01-0" in run(app, "show", later).output


def test_pause_and_resume(app: Flask, mail: Mail) -> None:
    send(mail)
    assert run(app, "pause").exit_code == 0
    assert "Transport 'default' is paused: paused by hand" in run(app, "status").output
    assert run(app, "resume").exit_code == 0
    assert "paused" not in run(app, "status").output
    assert run(app, "resume").output == "Transport 'default' was not paused.\n"


def test_a_transport_that_there_is_not_cannot_be_paused(app: Flask, mail: Mail) -> None:
    result = run(app, "pause", "defualt")
    assert (result.exit_code, "'default'" in result.output) == (1, True)


def test_init_db_can_be_run_again(app: Flask, mail: Mail) -> None:
    assert run(app, "init-db").output == "The outbox's tables are made, in version 2.\n"
    assert run(app, "init-db").output == "The outbox's tables are there, in version 2.\n"


def test_init_db_can_print_what_it_would_do(app: Flask, mail: Mail) -> None:
    printed = run(app, "init-db", "--sql").output
    assert printed.startswith("CREATE TABLE mail_")
    assert printed.endswith("INSERT INTO mail_schema (version) VALUES (2);\n")
    run(app, "init-db")
    assert "there is nothing to do" in run(app, "init-db", "--sql").output


def test_worker_once_drains_the_outbox(app: Flask) -> None:
    with ScriptedServer() as server:
        app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port)
        mail = Mail(app)
        with app.app_context():
            letter_id = send(mail)
        result = run(app, "worker", "--once")
        assert result.exit_code == 0, result.output
        with app.app_context():
            view = mail.get(letter_id)
        app.extensions["flask_outbox"].close()
    assert view is not None
    assert (view.state, len(view.attempts)) == ("sent", 1)
    assert [message.recipients for message in server.messages] == [["a@example.org"]]


def test_send_test_says_what_the_server_answered(app: Flask) -> None:
    with ScriptedServer() as server:
        app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port)
        Mail(app)
        result = run(app, "send-test", "you@example.org")
        app.extensions["flask_outbox"].close()
    assert result.exit_code == 0, result.output
    assert "The server took the message for you@example.org" in result.output


def test_send_test_says_that_no_server_took_it_and_where_it_was_redirected(app: Flask) -> None:
    app.config.update(MAIL_URL="null://", MAIL_REDIRECT_TO="qa@example.org")
    Mail(app)
    result = run(app, "send-test", "you@example.org")
    app.extensions["flask_outbox"].close()
    assert "No server, but null:// took the message for you@example.org" in result.output
    assert ", redirected to qa@example.org in " in result.output


def test_send_test_as_json(app: Flask) -> None:
    with ScriptedServer(script={"RCPT": ["550 5.1.1 Nobody", None]}) as server:
        app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port)
        Mail(app)
        refused, taken = (run(app, "send-test", "you@example.org", "--json") for _ in range(2))
        app.extensions["flask_outbox"].close()
    found = json.loads(refused.stdout)
    assert (refused.exit_code, found["delivered"]) == (1, False)
    assert found["recipients"]["you@example.org"]["enhanced"] == "5.1.1"
    found = json.loads(taken.stdout)
    assert (taken.exit_code, found["delivered"]) == (0, True)


def test_send_test_says_why_not_and_what_to_do(app: Flask) -> None:
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=1)
    Mail(app)
    result = run(app, "send-test", "you@example.org")
    app.extensions["flask_outbox"].close()
    assert result.exit_code == 1
    assert "MAIL_SERVER" in result.output


def test_without_an_outbox_the_error_says_so(app: Flask) -> None:
    app.config["MAIL_ENGINE"] = "immediate"
    Mail(app)
    result = run(app, "status")
    assert (result.exit_code, "no outbox" in result.output) == (1, True)


def test_without_mail_the_error_says_what_to_call(app: Flask) -> None:
    result = run(app, "status")
    assert (result.exit_code, "Mail(app)" in result.output) == (1, True)


def test_a_mistake_is_a_line_and_no_traceback(app: Flask, mail: Mail) -> None:
    result = run(app, "send-test", "not an address")
    assert result.exit_code == 1
    assert result.output.startswith("Error: recipients:")


# -- many at once ----------------------------------------------------------------------------------------------


def test_a_dry_run_counts_what_would_be_sent_again(app: Flask, mail: Mail) -> None:
    for _ in range(3):
        mail.cancel(send(mail))
    many = ("retry", "--state", "cancelled")
    assert run(app, *many, "--dry-run").output == "3 cancelled messages would be retried.\n"
    assert len(mail.messages(state="cancelled")) == 3


def test_what_is_sent_again_can_be_narrowed_to_a_transport(app: Flask, mail: Mail) -> None:
    mail.cancel(send(mail))
    mail.cancel(send(mail, transport="smtp://localhost:2525"))
    done = run(app, "retry", "--state", "cancelled", "--transport", "smtp://localhost:2525")
    assert done.stdout.startswith("1 cancelled messages")
    assert [one.transport for one in mail.messages(state="cancelled")] == ["default"]


def test_what_is_sent_again_can_be_narrowed_to_the_last_hours(app: Flask, mail: Mail) -> None:
    mail.cancel(send(mail))
    many = ("retry", "--state", "cancelled", "--dry-run", "--since")
    assert run(app, *many, "1h").output.startswith("1 cancelled")
    assert run(app, *many, "0s").output.startswith("0 cancelled")


def test_what_narrows_needs_a_state(app: Flask, mail: Mail) -> None:
    result = run(app, "retry", "x", "--dry-run")
    assert (result.exit_code, "need --state" in result.output) == (2, True)


def test_messages_are_held_and_released_by_hand(app: Flask, mail: Mail) -> None:
    one, other = send(mail), send(mail)
    assert run(app, "hold", one).output == f"{one} is held.\n"
    assert run(app, "hold", one).output == f"Error: {one} cannot be held: it is held.\n"
    assert run(app, "hold", "--state", "queued").stdout == "1 queued messages are held.\n"
    assert run(app, "release", other).output == f"{other} is queued again.\n"
    released = run(app, "release", "--state", "held").stdout
    assert released == "1 held messages are queued again.\n"
    assert {view.state for view in mail.messages()} == {"queued"}


def test_status_tells_what_is_closed_for_a_while() -> None:
    said = [
        closed(ClosedView(*one), 100.0)
        for one in [("default x.org", 112.0, 0), ("default", 112.0, 5), ("default", None, 1)]
    ]
    assert said == [
        "The limit of 'default x.org' is spent: its mail goes on in 12 s.",
        "Transport 'default' failed 5 times in a row: its mail waits, and one message tries in 12 s.",
        "Transport 'default' failed once: its mail is tried now.",
    ]
