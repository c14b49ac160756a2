"""The clock of the machine is set while mail is on its way: nothing is sent twice, and nothing waits for its return.

``time.time`` is what the outbox reads the clock by, and the one thing that is changed here; what measures spans does
not follow it, in the kernel either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from flask_outbox import Mail, Message
from flask_outbox._cli import mail_cli
from journeys.accounting import AccountingServer
from servers.process import wait_until

HOUR = 3_600.0


class Clock:
    """The machine's, which a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + self.ahead)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def mail(app: Flask, server: AccountingServer) -> Iterator[Mail]:
    """The mail of an application with a worker thread."""
    app.config.update(MAIL_URL=f"smtp://127.0.0.1:{server.port}", MAIL_WORKER="thread")
    mail = Mail(app)
    with app.app_context():
        yield mail
    app.extensions["flask_outbox"].close()


def send(mail: Mail, **options: Any) -> str:
    message = Message("Hello", recipients=["a@example.org"], body="x")
    return mail.send(message, **options).id


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
def test_what_is_being_sent_when_the_clock_is_set_is_not_sent_again(
    mail: Mail,
    server: AccountingServer,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    jump: float,
) -> None:
    arrived, answer = threading.Event(), threading.Event()

    def hold(count: int) -> None:
        if count == 1:
            arrived.set()
            answer.wait(20)

    server.on_content = hold
    first = send(mail)
    assert arrived.wait(20)
    clock.ahead = jump
    send(mail)
    wait_until(lambda: "the clock was set" in caplog.text, "a look at the clock")
    # Behind the first one on the server's only thread; one more look at what is due happens meanwhile.
    answer.set()
    server.wait_for(2)
    wait_until(lambda: state(mail, first) == "sent", "the first result")
    assert (server.count, server.duplicates) == (2, 0)


def test_what_waits_to_be_sent_is_not_kept_until_the_old_time_comes_again(
    app: Flask, mail: Mail, server: AccountingServer, clock: Clock
) -> None:
    app.config["MAIL_WORKER"] = "external"
    mail.init_app(app)
    clock.ahead = 365 * 24 * HOUR
    waiting, later = send(mail), send(mail, delay=timedelta(days=1))
    clock.ahead = 0.0
    assert state(mail, waiting) == "scheduled"
    assert app.test_cli_runner().invoke(mail_cli, ["worker", "--once"]).exit_code == 0
    assert (state(mail, waiting), state(mail, later)) == ("sent", "scheduled")


def test_doctor_says_that_the_clock_was_set_back(app: Flask, mail: Mail, clock: Clock) -> None:
    clock.ahead = 2 * HOUR
    send(mail)
    clock.ahead = 0.0
    said = app.test_cli_runner().invoke(mail_cli, ["doctor"]).output
    assert "warning  clock: The newest message is dated 2 h from now" in said


def state(mail: Mail, id: str) -> str:
    view = mail.get(id)
    assert view is not None
    return view.state
