"""From settings to wired objects."""

from __future__ import annotations

import logging
import smtplib
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app

from flask_outbox import ConfigurationError, DeliveryError, Mail, Message
from flask_outbox._cli import mail_cli
from flask_outbox._config import outbox_url, wire, worker_settings
from flask_outbox._settings import read_settings
from flask_outbox._wiring import seal_defaults
from flask_outbox.engines.staged import _redirected
from flask_outbox.mail.address import Address
from flask_outbox.mail.mime import compose
from flask_outbox.signals import message_queued
from servers.scripted import ScriptedServer
from transports.examiners import bearer


def named(name: str, folder: Path, **config: Any) -> Flask:
    app = Flask(name, instance_path=str(folder))
    app.config.update(MAIL_DEFAULT_SENDER="app@example.org", MAIL_WORKER="external", **config)
    return app


def work_once(app: Flask) -> None:
    done = app.test_cli_runner().invoke(mail_cli, ["worker", "--once"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("engine", ["immediate", "outbox"])
def test_the_function_that_gives_a_token_runs_in_the_applications_context(
    tmp_path: Path, engine: str
) -> None:
    def token() -> str:
        return f"token of {current_app.name}"

    examiners = {"XOAUTH2": bearer("token of mailing", resigned=b"")}
    with ScriptedServer(examiners=examiners) as server:
        app = named(
            "mailing",
            tmp_path,
            MAIL_ENGINE=engine,
            MAIL_SERVER="127.0.0.1",
            MAIL_PORT=server.port,
            MAIL_USERNAME="me",
            MAIL_OAUTH_TOKEN=token,
        )
        mail = Mail(app)
        with app.app_context():
            mail.send(Message("Hello", recipients=["you@example.org"], body="Hi"))
        if engine == "outbox":
            work_once(app)
    assert len(server.messages) == 1


# -- other rooms -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"MAIL_ENGINE": "celry"}, "'MAIL_ENGINE' must be one of: outbox, immediate."),
        ({"MAIL_WORKER": "thred"}, "'MAIL_WORKER' must be one of: thread, external."),
        ({"MAIL_DEFAULT_SENDER": "nobody"}, "'MAIL_DEFAULT_SENDER'"),
        ({"MAIL_WORKER_RATE": "-1"}, "'MAIL_WORKER_RATE'"),
        ({"MAIL_RETRY_DELAYS": "soon"}, "'MAIL_RETRY_DELAYS' must be a list of seconds."),
    ],
)
def test_init_app_names_the_setting_that_is_wrong(config: dict[str, Any], told: str) -> None:
    app = Flask(__name__)
    app.config.update(config)
    with pytest.raises(ConfigurationError, match=told):
        Mail(app)


def test_what_is_not_known_is_logged_and_stops_nothing(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    app.config.update(MAIL_SERVR="mx.example.org", MAIL_ADMINS=["x"])
    Mail(app)
    assert caplog.messages == [
        "not settings of Flask-Outbox, and ignored: MAIL_ADMINS, MAIL_SERVR (did you mean MAIL_SERVER?)"
    ]


def test_what_a_sealed_message_takes_over() -> None:
    config = {"MAIL_ENVELOPE_FROM": "<>", "MAIL_REPLY_TO": ("Help", "help@example.org")}
    found = seal_defaults(read_settings(config))
    assert (found.envelope_from, found.sender) == ("", None)
    assert found.reply_to == (Address("help@example.org", "Help"),)
    assert seal_defaults(read_settings({})).envelope_from is None


def test_only_the_thread_is_capped_by_itself() -> None:
    def rates(**config: Any) -> list[float | None]:
        return [one.rate for one in worker_settings(read_settings(config)).values()]

    assert rates() == [200.0, None]
    assert rates(MAIL_WORKER_RATE="7") == [7.0, 7.0]


def test_the_outbox_is_in_the_instance_folder_unless_it_says_otherwise(tmp_path: Path) -> None:
    app = Flask(__name__, instance_path=str(tmp_path))

    def found(**config: Any) -> str:
        return outbox_url(read_settings(config), app)

    assert found() == f"sqlite:///{tmp_path}/outbox.sqlite"
    assert found(MAIL_OUTBOX_URL="sqlite:///mail/o.db") == f"sqlite:///{tmp_path}/mail/o.db"
    assert found(MAIL_OUTBOX_URL="sqlite:////srv/o.db") == "sqlite:////srv/o.db"


def test_wirings_of_equal_settings_can_be_told_by_them(app: Flask) -> None:
    wiring = wire(app, read_settings(app.config))
    assert wiring.settings == read_settings(app.config)
    assert wiring.settings != read_settings({**app.config, "MAIL_TIMEOUT": 5})


def test_a_debug_setting_of_mails_own_stands_above_flasks(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    app.debug = True
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=1, MAIL_DEBUG="0")
    mail = Mail(app)
    with app.app_context():
        mail.send_message("Hi", recipients=["a@example.org"], body="x")
    work_once(app)
    app.extensions["flask_outbox"].close()
    assert logging.WARNING in {record.levelno for record in caplog.records}
    assert logging.ERROR not in {record.levelno for record in caplog.records}


def test_flasks_debug_counts_also_where_app_run_switches_it_on(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=1, MAIL_WORKER="thread")
    mail = Mail(app)
    app.debug = True
    mail.send_message("Hi", recipients=["a@example.org"], body="x")
    app.extensions["flask_outbox"].close()
    assert logging.ERROR in {record.levelno for record in caplog.records}


# -- where mail may go -----------------------------------------------------------------------------------------


def test_what_is_redirected_keeps_its_headers_and_says_whom_it_was_for(app: Flask) -> None:
    with ScriptedServer() as server:
        app.config.update(
            MAIL_SERVER="127.0.0.1",
            MAIL_PORT=server.port,
            MAIL_ENGINE="immediate",
            MAIL_REDIRECT_TO="dev@example.org",
        )
        mail = Mail(app)
        with app.app_context():
            mail.send_message("Hi", recipients=["a@x.org"], bcc=["b@x.org"], body="x")
        app.extensions["flask_outbox"].close()
    [sent] = server.messages
    assert sent.recipients == ["dev@example.org"]
    parsed = message_from_bytes(sent.content)
    assert (parsed["To"], parsed["X-Original-To"]) == ("a@x.org", "a@x.org, b@x.org")


def test_what_was_composed_at_seal_is_redirected_too(app: Flask) -> None:
    letter = replace(
        wire(app, read_settings(app.config)).seal(
            Message("Hi", recipients=["a@x.org"], body="x"), "0" * 32, 0.0
        ),
        raw=b"To: a@x.org\r\n\r\nx\r\n",
    )
    content = compose(_redirected(letter, ("dev@example.org",)))
    assert content == b"X-Original-To: a@x.org\r\nTo: a@x.org\r\n\r\nx\r\n"


def test_a_letter_for_someone_who_is_not_allowed_is_held_and_says_why(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    app.config["MAIL_ALLOWED_RECIPIENTS"] = "@corp.org"
    mail = Mail(app)
    queued: list[object] = []
    with app.app_context(), message_queued.connected_to(lambda app, **_: queued.append(app)):
        receipt = mail.send_message("Hi", recipients=["a@corp.org", "b@x.org"], body="x")
        view = mail.get(receipt.id)
        assert mail.status().counts == {"held": 1}
    app.extensions["flask_outbox"].close()
    reason = "MAIL_ALLOWED_RECIPIENTS does not allow b@x.org"
    assert (receipt.state, receipt.durable) == ("held", True)
    assert view is not None
    assert (view.state, view.reason) == ("held", reason)
    assert caplog.messages == [f"letter {receipt.id} is held: {reason}"]
    assert queued == []


def test_a_letter_for_those_who_are_allowed_goes_its_way(app: Flask) -> None:
    app.config["MAIL_ALLOWED_RECIPIENTS"] = "@corp.org"
    mail = Mail(app)
    with app.app_context():
        assert mail.send_message("Hi", recipients=["a@corp.org"], body="x").state == "queued"
    app.extensions["flask_outbox"].close()


def test_the_immediate_engine_refuses_whom_it_may_not_reach(app: Flask) -> None:
    app.config.update(MAIL_ALLOWED_RECIPIENTS="@corp.org", MAIL_ENGINE="immediate")
    mail = Mail(app)
    with app.app_context(), pytest.raises(DeliveryError) as caught:
        mail.send_message("Hi", recipients=["a@corp.org", "b@x.org"], body="x")
    app.extensions["flask_outbox"].close()
    assert list(caught.value.recipients) == ["a@corp.org", "b@x.org"]
    assert "MAIL_ALLOWED_RECIPIENTS does not allow b@x.org" in str(caught.value)


def test_a_connection_of_ones_own_is_no_way_around_it(app: Flask) -> None:
    app.config.update(MAIL_ALLOWED_RECIPIENTS="@corp.org", MAIL_ENGINE="immediate")
    mail = Mail(app)
    with app.app_context(), mail.connect() as connection:
        connection.host = smtplib.SMTP()  # not connected: it would raise another error
        with pytest.raises(DeliveryError):
            connection.send(Message("Hi", recipients=["b@x.org"], body="x"))
        connection.host = None
    app.extensions["flask_outbox"].close()


def test_a_worker_of_another_deployment_sends_nothing(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        there = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": server.port}
        production = named("production", tmp_path, MAIL_OUTBOX_ENV="production", **there)
        staging = named("staging", tmp_path, MAIL_OUTBOX_ENV="staging", **there)
        mail = Mail(production)
        with production.app_context():
            letter_id = mail.send_message("Hi", recipients=["a@example.org"], body="x").id
        Mail(staging)
        work_once(staging)
        assert server.messages == []
        with production.app_context():
            view = mail.get(letter_id)
            assert view is not None
            assert view.state == "queued"
        work_once(production)
        assert len(server.messages) == 1
        for app in (production, staging):
            app.extensions["flask_outbox"].close()
