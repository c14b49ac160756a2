"""A mail server that cannot be used: the log names the cure, doctor does too, and nothing is lost or sent twice."""

from __future__ import annotations

import sqlite3
import ssl
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from flask import Flask

from flask_outbox import Mail, Message
from flask_outbox._cli import mail_cli
from flask_outbox.ledger.reports import MessageView
from servers.scripted import HANG, ScriptedServer


@dataclass(frozen=True)
class Case:
    """What is wrong.

    :param server: made for one test, with that folder at hand.
    :param wrong: the settings by which it cannot be used; the others are right.
    :param right: what mends it.
    :param cure: what the log and doctor say.
    """

    server: Callable[[Path], ScriptedServer]
    wrong: dict[str, Any]
    right: dict[str, Any]
    cure: str


def plain(folder: Path) -> ScriptedServer:
    return ScriptedServer()


def with_login(folder: Path) -> ScriptedServer:
    return ScriptedServer(accounts={"me": "right"})


def silent_twice(folder: Path) -> ScriptedServer:
    return ScriptedServer(script={"GREETING": [HANG, HANG, None]})


def with_own_authority(folder: Path) -> ScriptedServer:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return ScriptedServer(tls=context)


CASES = {
    "wrong password": Case(
        with_login,
        {"MAIL_USERNAME": "me", "MAIL_PASSWORD": "wrong"},
        {"MAIL_PASSWORD": "right"},
        "check MAIL_USERNAME and MAIL_PASSWORD",
    ),
    "no password": Case(
        lambda folder: ScriptedServer(script={"MAIL": ["530 5.7.0 Authentication required", None]}),
        {"MAIL_USERNAME": "me"},
        {"MAIL_USERNAME": None},
        "Set MAIL_USERNAME and MAIL_PASSWORD, or neither.",
    ),
    "nobody listens": Case(plain, {"MAIL_PORT": 1}, {}, "Nothing listens there: check MAIL_SERVER"),
    "unknown name": Case(
        plain, {"MAIL_SERVER": "mail.invalid"}, {}, "check MAIL_SERVER and the DNS"
    ),
    "no answer": Case(
        silent_twice, {"MAIL_TIMEOUT": 0.2}, {"MAIL_TIMEOUT": None}, "a firewall lets you out"
    ),
    "own authority": Case(
        with_own_authority,
        {"MAIL_USE_TLS": True},
        {"MAIL_TLS_CA": "ca.pem"},
        "name its authority in MAIL_TLS_CA",
    ),
}


def work(app: Flask) -> None:
    """As someone who starts the worker, finds its mail due, and stops it."""
    path = app.extensions["flask_outbox"].wiring.store.path
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE mail_delivery SET due = 0 WHERE state = 'queued'")
    result = app.test_cli_runner().invoke(mail_cli, ["worker", "--once"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_the_cure_is_logged_and_told_by_doctor_and_then_the_mail_arrives_once(
    app: Flask,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    case: Case,
) -> None:
    with case.server(tmp_path) as server:
        right = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": server.port}
        app.config.update(right | case.wrong)
        mail = Mail(app)
        with app.app_context():
            sent = mail.send(Message("Hello", recipients=["a@example.org"], body="x")).id
        work(app)
        found = view(app, mail, sent)
        assert (found.state in {"queued", "retrying"}, found.recipients[0].state) == (True, "open")
        assert case.cure in caplog.text
        doctor = app.test_cli_runner().invoke(mail_cli, ["doctor"])
        assert (doctor.exit_code > 0, case.cure in doctor.output) == (True, True), doctor.output
        assert server.messages == []

        app.config.update(right | case.right)
        monkeypatch.chdir(tmp_path)  # where the authority's file is
        mail.init_app(app)
        work(app)
        assert view(app, mail, sent).state == "sent"
        assert len(server.messages) == 1
        app.extensions["flask_outbox"].close()


def view(app: Flask, mail: Mail, id: str) -> MessageView:
    with app.app_context():
        found = mail.get(id)
    assert found is not None
    return found
