"""Two applications in one process, as tests, factories and dispatchers make them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask

from flask_outbox import Mail, Message
from journeys.accounting import AccountingServer
from servers.scripted import ScriptedServer


@contextmanager
def application(folder: Path, **settings: Any) -> Iterator[tuple[Flask, Mail]]:
    app = Flask(__name__, instance_path=str(folder))
    app.config.update({"MAIL_DEFAULT_SENDER": "app@example.org"} | settings)
    mail = Mail(app)
    try:
        yield app, mail
    finally:
        app.extensions["flask_outbox"].close()


def send(app: Flask, mail: Mail, count: int) -> None:
    with app.app_context():
        for number in range(count):
            mail.send(Message(str(number), recipients=["a@example.org"], body="x"))


def test_two_with_one_file_send_everything_once(tmp_path: Path, server: AccountingServer) -> None:
    url = f"smtp://127.0.0.1:{server.port}"
    with application(tmp_path, MAIL_URL=url) as one, application(tmp_path, MAIL_URL=url) as two:
        send(*one, count=10)
        send(*two, count=10)
        server.wait_for(20)
    assert server.duplicates == 0


def test_when_the_one_that_drains_ends_the_other_takes_over(
    tmp_path: Path, server: AccountingServer
) -> None:
    url = f"smtp://127.0.0.1:{server.port}"
    with application(tmp_path, MAIL_URL=url) as two:
        with application(tmp_path, MAIL_URL=url) as one:
            send(*one, count=1)
            server.wait_for(1)
            send(*two, count=1)
            server.wait_for(2)
        send(*two, count=1)
        server.wait_for(3)


def test_each_with_a_file_of_its_own_sends_by_its_own_settings(
    tmp_path: Path, server: AccountingServer
) -> None:
    with ScriptedServer() as other:
        urls = [f"smtp://127.0.0.1:{port}" for port in (server.port, other.port)]
        with (
            application(tmp_path / "one", MAIL_URL=urls[0]) as one,
            application(
                tmp_path / "two", MAIL_URL=urls[1], MAIL_DEFAULT_SENDER="two@example.org"
            ) as two,
        ):
            send(*one, count=2)
            send(*two, count=3)
    assert (len(server.copies), server.count) == (2, 2)
    assert [message.sender for message in other.messages] == ["two@example.org"] * 3


def test_the_engine_of_one_is_not_the_engine_of_the_other(
    tmp_path: Path, server: AccountingServer
) -> None:
    url = f"smtp://127.0.0.1:{server.port}"
    with (
        application(tmp_path / "one", MAIL_URL=url, MAIL_ENGINE="immediate") as one,
        application(tmp_path / "two", MAIL_URL=url, MAIL_WORKER="external") as two,
    ):
        send(*two, count=1)
        send(*one, count=1)
        assert server.count == 1
    assert not (tmp_path / "one").exists()
