"""``flask mail doctor``: what is wrong is found, with its cure, and no secret is told."""

from __future__ import annotations

import json
import os
import sqlite3
import ssl
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from flask import Flask, current_app
from flask.cli import ScriptInfo

from flask_outbox import Mail, Message
from flask_outbox._cli import mail_cli
from flask_outbox.ledger.store import Finished, Store
from flask_outbox.rules.outcomes import Kind, Outcome, Report, Scope
from flask_outbox.rules.retry import Plan
from flask_outbox.rules.states import State
from servers.scripted import CAPABILITIES, ScriptedServer
from test_encryption import NEW, OLD

NOBODY = 65_534


def lines(app: Flask, *arguments: str) -> list[str]:
    return app.test_cli_runner().invoke(mail_cli, ["doctor", *arguments]).output.splitlines()


def about(app: Flask, subject: str) -> str:
    """What is said about one subject."""
    return "\n".join(line for line in lines(app) if f" {subject}: " in line)


@contextmanager
def asking(app: Flask, server: ScriptedServer, **settings: Any) -> Iterator[Flask]:
    """The application with that server."""
    with server:
        app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port, **settings)
        Mail(app)
        yield app
        app.extensions["flask_outbox"].close()


def store_of(app: Flask) -> Store:
    store = app.extensions["flask_outbox"].wiring.store
    assert isinstance(store, Store)
    return store


def send(app: Flask, mail: Mail) -> str:
    return mail.send(Message("Hello", recipients=["a@example.org"], body="x")).id


# -- all is well -----------------------------------------------------------------------------------------------


def test_where_all_is_well_it_says_so_and_exits_with_0(app: Flask) -> None:
    with asking(app, ScriptedServer(), MAIL_ENGINE="immediate"):
        result = app.test_cli_runner().invoke(mail_cli, ["doctor"])
    assert result.exit_code == 0, result.output
    assert {line.split()[0] for line in result.output.splitlines()} == {"ok"}


def test_warnings_alone_are_exit_code_1(app: Flask) -> None:
    app.config.update(MAIL_URL="null://", MAIL_ENGINE="immediate")
    Mail(app)
    result = app.test_cli_runner().invoke(mail_cli, ["doctor"])
    assert (result.exit_code, "FAILED" in result.output) == (1, False)


def test_the_server_is_asked_as_a_worker_asks_it_and_no_mail_is_sent(app: Flask) -> None:
    server = ScriptedServer(accounts={"me": "secret"})
    with asking(app, server, MAIL_USERNAME="me", MAIL_PASSWORD="secret"):
        assert "The login is accepted; no message was sent." in about(app, "server")
    (session,) = server.sessions
    assert [command.split()[0] for command in session.commands] == ["EHLO", "AUTH", "QUIT"]


def test_the_token_is_asked_for_in_an_application_context(app: Flask) -> None:
    def bearer(first: bytes | None) -> Generator[bytes, bytes, bool]:
        yield from ()
        return first is not None and b"auth=Bearer of flask" in first

    server = ScriptedServer(examiners={"XOAUTH2": bearer})
    with asking(app, server, MAIL_USERNAME="me", MAIL_OAUTH_TOKEN=lambda: f"of {current_app.name}"):
        app.name = "flask"
        assert "The login is accepted" in about(app, "server")


def test_with_to_a_message_is_sent(app: Flask) -> None:
    server = ScriptedServer()
    with asking(app, server):
        assert (
            "ok       test: The message for you@example.org was taken"
            in lines(app, "--to", "you@example.org")[-1]
        )
    assert [message.recipients for message in server.messages] == [["you@example.org"]]


def test_an_outbox_that_is_not_there_is_not_made(app: Flask, mail: Mail) -> None:
    assert "is not there yet; the first send makes it." in about(app, "outbox")
    assert not Path(app.instance_path).exists()


def test_json_holds_the_same_findings(app: Flask, mail: Mail) -> None:
    (line,) = lines(app, "--json")
    found = json.loads(line)
    assert found["level"] == "failed"
    assert found["findings"][-1]["subject"] == "server"
    assert "MAIL_SERVER" in found["findings"][-1]["cure"]


# -- the settings ----------------------------------------------------------------------------------------------


def test_settings_that_contradict_each_other_are_a_finding_and_no_traceback(app: Flask) -> None:
    def create_app() -> Flask:
        app.config.update(MAIL_USE_TLS=True, MAIL_USE_SSL=True)
        Mail(app)
        return app

    script = ScriptInfo(create_app=create_app)
    result = app.test_cli_runner().invoke(mail_cli, ["doctor"], obj=script)
    assert result.exit_code == 2
    assert result.output.startswith("FAILED   settings: 'MAIL_USE_TLS' and 'MAIL_USE_SSL'")


def test_an_application_without_mail_is_a_finding(app: Flask) -> None:
    assert "FAILED   settings: This application has no Mail" in lines(app)[0]


@pytest.mark.parametrize(
    ("settings", "subject", "said"),
    [
        ({"MAIL_SERVR": "x"}, "settings", "MAIL_SERVER"),
        ({"MAIL_SUPPRESS_SEND": True}, "settings", "nothing is sent or stored"),
        ({"MAIL_PASSWORD": "hunter2"}, "settings", "MAIL_USERNAME is not set: nobody logs in"),
        ({"MAIL_USERNAME": "me"}, "settings", "MAIL_PASSWORD is not set: nobody logs in"),
        ({"MAIL_URL": "smtp://me@127.0.0.1:1"}, "settings", "MAIL_URL has no password"),
        ({"MAIL_TLS_VERIFY": False}, "settings", "MAIL_TLS_CA"),
        ({"MAIL_DEFAULT_SENDER": None}, "sender", "MAIL_DEFAULT_SENDER is not set"),
        ({"MAIL_DEFAULT_SENDER": "app@localhost"}, "sender", "not on the internet"),
        ({"MAIL_URL": "null://"}, "server", "no mail leaves this machine"),
    ],
)
def test_what_is_doubtful_about_the_settings_is_a_warning(
    app: Flask, settings: dict[str, Any], subject: str, said: str
) -> None:
    app.config.update(MAIL_PORT=1)
    app.config.update({"MAIL_PORT": None} if "MAIL_URL" in settings else {}, **settings)
    Mail(app)
    found = about(app, subject)
    assert "warning" in found
    assert said in found
    app.extensions["flask_outbox"].close()


def test_no_server_at_all_fails(app: Flask) -> None:
    app.config["MAIL_SERVER"] = None
    Mail(app)
    assert about(app, "server").startswith("FAILED   server: No mail server is configured.")


# -- the server ------------------------------------------------------------------------------------------------


def test_a_wrong_password_fails_with_its_cure_and_is_not_shown(app: Flask) -> None:
    server = ScriptedServer(accounts={"me": "right"})
    with asking(app, server, MAIL_USERNAME="me", MAIL_PASSWORD="hunter2"):
        output = "\n".join(lines(app))
    assert "FAILED   server: 535 5.7.8 Wrong name or password." in output
    assert "check MAIL_USERNAME and MAIL_PASSWORD" in output
    assert "hunter2" not in output


def test_a_self_signed_certificate_fails_with_its_cure(app: Flask) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with asking(app, ScriptedServer(tls=context), MAIL_USE_TLS=True):
        found = about(app, "server")
    assert "FAILED" in found
    assert "MAIL_TLS_CA" in found


def test_a_trusted_certificate_is_shown_with_its_end(app: Flask, tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    settings = {"MAIL_USE_TLS": True, "MAIL_TLS_CA": str(tmp_path / "ca.pem")}
    with asking(app, ScriptedServer(tls=context), **settings):
        assert "ok       server: TLSv1.3; the certificate is trusted, and ends " in about(
            app, "server"
        )


def test_where_nothing_listens_it_says_so(app: Flask) -> None:
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=1)
    Mail(app)
    assert "Nothing listens there: check MAIL_SERVER and MAIL_PORT" in about(app, "server")


def test_a_server_that_takes_less_than_we_allow_is_a_warning(app: Flask) -> None:
    capabilities = ["SIZE 1000000", *(one for one in CAPABILITIES if "SIZE" not in one)]
    with asking(app, ScriptedServer(capabilities)):
        assert "Set MAIL_MAX_SIZE=1000000" in about(app, "server")


def test_a_server_that_greets_with_a_refusal_fails(app: Flask) -> None:
    with asking(app, ScriptedServer(script={"GREETING": "554 5.7.1 Go away"})):
        assert "FAILED   server: 554 5.7.1 Go away." in about(app, "server")


# -- the outbox ------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_fails_with_its_cure(app: Flask) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        app.config["MAIL_OUTBOX_URL"] = f"sqlite:///{folder}/outbox.sqlite"
        app.config["MAIL_PORT"] = 1
        Mail(app)
        about(app, "outbox")  # loads what a plain user might not be able to read
        folder.chmod(0o555)
        before = os.geteuid()
        try:
            if before == 0:
                os.seteuid(NOBODY)
            found = about(app, "outbox")
        finally:
            os.seteuid(before)
            folder.chmod(0o700)
    assert found.startswith("FAILED")
    assert f"may not write to {folder}" in found
    assert "MAIL_OUTBOX_URL" in found


def test_a_file_that_is_no_database_fails_with_its_cure(app: Flask, mail: Mail) -> None:
    path = store_of(app).path
    assert path is not None
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1_000)
    found = about(app, "outbox")
    assert found.startswith("FAILED")
    assert "Move the file away" in found


def test_a_damaged_file_fails(app: Flask, mail: Mail) -> None:
    send(app, mail)
    path = store_of(app).path
    assert path is not None
    store_of(app).dispose()
    content = bytearray(path.read_bytes())
    content[-4096 * 3 :] = b"\x55" * 4096 * 3
    path.write_bytes(content)
    found = about(app, "outbox")
    assert found.startswith("FAILED")
    assert ".recover" in found


def test_a_file_that_every_user_may_read_is_a_warning(app: Flask, mail: Mail) -> None:
    send(app, mail)
    path = store_of(app).path
    assert path is not None
    path.chmod(0o644)
    assert f"chmod o= {path}" in about(app, "rights")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_log_that_root_has_made_is_a_warning(app: Flask, mail: Mail) -> None:
    send(app, mail)
    path = store_of(app).path
    assert path is not None
    os.chown(path, NOBODY, NOBODY)
    assert "-wal is root's" in about(app, "rights")


def test_tables_of_another_version_fail(app: Flask, mail: Mail) -> None:
    send(app, mail)
    store = store_of(app)
    assert store.path is not None
    store.dispose()
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE mail_schema SET version = 99")
    connection.close()
    assert "version 99" in about(app, "outbox")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            OLD,
            "ok       key: MAIL_OUTBOX_KEY reads all that is stored, 1 of it as it was stored before",
        ),
        (f"{NEW},{OLD}", "ok       key: MAIL_OUTBOX_KEY reads all that is stored, 1 of it"),
        (
            NEW,
            "FAILED   key: The outbox is encrypted, and none of the keys in MAIL_OUTBOX_KEY reads it",
        ),
        (NEW, "FAILED   key: 2 message(s) cannot be read, as the key is missing: they are held"),
        (
            None,
            "FAILED   key: 2 message(s) cannot be read, as MAIL_OUTBOX_KEY is not set: they are held",
        ),
    ],
)
def test_what_no_key_reads_is_counted(app: Flask, mail: Mail, keys: str | None, said: str) -> None:
    send(app, mail)
    app.config["MAIL_OUTBOX_KEY"] = OLD
    mail.init_app(app)
    for _ in range(2):
        send(app, mail)
    app.config["MAIL_OUTBOX_KEY"] = keys
    mail.init_app(app)
    assert said in about(app, "key")


def test_where_nothing_is_encrypted_nothing_is_said_of_keys(app: Flask, mail: Mail) -> None:
    send(app, mail)
    assert about(app, "key") == ""


# -- worker and messages ---------------------------------------------------------------------------------------


def test_messages_that_nobody_sends_fail_with_the_cure(app: Flask, mail: Mail) -> None:
    send(app, mail)
    assert about(app, "worker") == (
        "FAILED   worker: No worker is running. Messages are due, and nobody sends them."
        " Start 'flask mail worker'."
    )


def test_a_thread_that_is_not_needed_yet_is_not_missed(app: Flask) -> None:
    app.config["MAIL_WORKER"] = "thread"
    Mail(app)
    store_of(app).check_schema()
    assert about(app, "worker").startswith("ok ")
    app.extensions["flask_outbox"].close()


def test_a_worker_that_died_is_told_from_one_that_works(app: Flask, mail: Mail) -> None:
    send(app, mail)
    store_of(app).register_worker(time.time())
    assert "holds no lock of the outbox: it has died." in about(app, "worker")


def test_a_pause_fails_and_what_waits_for_a_person_is_a_warning(app: Flask) -> None:
    app.config["MAIL_ALLOWED_RECIPIENTS"] = "@example.com"
    mail = Mail(app)
    with app.app_context():
        send(app, mail)
    store_of(app).pause("default", "535 wrong password", by="worker")
    found = about(app, "messages")
    assert "FAILED   messages: Transport 'default' is paused: 535 wrong password." in found
    assert "warning  messages: 1 held. See 'flask mail list --state held'" in found
    app.extensions["flask_outbox"].close()


def test_what_a_limit_or_a_breaker_keeps_back_is_told(app: Flask) -> None:
    app.config.update(MAIL_LIMITS={"default": {"hour": 1}}, MAIL_BREAKER=1)
    app.config["MAIL_TRANSPORTS"] = {"other": "smtp://127.0.0.1:1"}
    mail = Mail(app)
    store = store_of(app)
    for transport in ("default", "other"):
        for _ in range(2):
            mail.send(Message("Hello", recipients=["a@example.org"], body="x", transport=transport))
    now = time.time()
    store.claim("default", 1, 1, now=now, lease=30)
    (one,) = store.claim("other", 1, 1, now=now, lease=30)
    failed = Report.of(one.to, Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="no answer"))
    plan = Plan(State.QUEUED, due=now + 60, open=one.to)
    store.finish([Finished(one, failed, plan, now, now)], now)
    found = about(app, "messages")
    assert "ok       messages: The limit of 'default' is spent: its mail goes on in" in found
    assert (
        "warning  messages: Transport 'other' failed once: its mail waits, and one message tries in"
        in found
    )
    app.extensions["flask_outbox"].close()
