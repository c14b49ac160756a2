"""What holds for the mail of an outbox whatever task queue sends it. Each queue's own file has a subclass."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from flask_outbox import Message
from flask_outbox.engines.base import Receipt
from flask_outbox.ledger.reports import MessageView
from journeys.accounting import AccountingServer, When
from servers.process import wait_until
from task_queues.workplace import Workplace


def send(app: Flask, address: str = "you@example.org", **options: Any) -> Receipt:
    """Send a message, as a view would."""
    with app.app_context():
        message = Message("Hello", recipients=[address], body="Hello.")
        receipt: Receipt = app.extensions["mail"].send(message, **options)
        return receipt


def wait_for_end(app: Flask, receipt: Receipt) -> MessageView:
    """A message that was sent, as soon as it was."""
    reports = app.extensions["flask_outbox"].reports()
    wait_until(lambda: reports.get(receipt.id).state == "sent", "message that is sent")
    view: MessageView = reports.get(receipt.id)
    return view


def fail(server: AccountingServer, times: int) -> None:
    """Let the next messages fail for now, so often. A connection that was open before is not blamed for the first."""
    failures = iter([When.FAREWELL] * times)
    server.on_step = lambda step: next(failures, None) if step == "MAIL" else None


class Contract:
    """A subclass has the fixture ``workplace``, one for all of its tests, which asks for ``smtp``."""

    @pytest.fixture(scope="class")
    @classmethod
    def smtp(cls) -> Iterator[AccountingServer]:
        with AccountingServer() as server:
            yield server

    @pytest.fixture
    def server(self, smtp: AccountingServer) -> Iterator[AccountingServer]:
        """It does what it is told to for one test."""
        yield smtp
        smtp.on_content, smtp.on_step = (lambda count: None), (lambda step: None)

    @pytest.fixture(scope="class")
    @classmethod
    def queue(cls, workplace: Workplace) -> Any:
        return workplace.queue("mail")

    @pytest.fixture(scope="class")
    @classmethod
    def app(cls, workplace: Workplace, queue: Any) -> Flask:
        return workplace.app(queue)

    @pytest.fixture(scope="class")
    @classmethod
    def forgotten(cls, workplace: Workplace, app: Flask, queue: Any) -> Iterator[Receipt]:
        """A message whose task the broker has forgotten, and from then on workers."""
        receipt = send(app)
        wait_until(lambda: workplace.waiting(queue) == 1, "task at the broker")
        workplace.flush(queue)
        workplace.start()
        yield receipt
        workplace.kill()

    def test_what_the_broker_has_forgotten_is_sent(self, app: Flask, forgotten: Receipt) -> None:
        wait_for_end(app, forgotten)

    @pytest.mark.usefixtures("forgotten")
    def test_the_task_of_a_message_sends_it(self, server: AccountingServer, app: Flask) -> None:
        receipt = send(app)
        wait_for_end(app, receipt)
        assert len(server.copies[receipt.message_id]) == 1

    def test_the_broker_is_asked_for_a_sign_of_life(self, app: Flask) -> None:
        assert app.extensions["flask_outbox"].wiring.tasks.queue.check()

    @pytest.mark.usefixtures("forgotten")
    def test_a_task_of_the_user_may_send(
        self, app: Flask, workplace: Workplace, queue: Any
    ) -> None:
        workplace.greet(queue, "greeted@example.org")
        reports = app.extensions["flask_outbox"].reports()
        wait_until(
            lambda: ("greeted@example.org",) in [view.to for view in reports.list(state="sent")],
            "greeting that is sent",
        )

    @pytest.mark.usefixtures("forgotten")
    def test_what_failed_is_tried_again_by_the_outbox(
        self, server: AccountingServer, app: Flask
    ) -> None:
        fail(server, 2)
        view = wait_for_end(app, send(app))
        kinds = [attempt.kind for attempt in view.attempts]
        assert (kinds[0], kinds[-1]) == ("deferred", "accepted")

    @pytest.mark.usefixtures("forgotten")
    def test_what_a_killed_worker_was_sending_is_sent_again_alike(
        self, server: AccountingServer, workplace: Workplace, app: Flask
    ) -> None:
        """Nothing is lost by kill -9 between the content and its reply."""
        killed = threading.Event()

        def kill(count: int) -> None:
            if not killed.is_set():
                workplace.kill()
                killed.set()

        server.on_content = kill
        receipt = send(app)
        assert killed.wait(30)
        workplace.start()
        wait_until(lambda: len(server.copies[receipt.message_id]) == 2, "second copy")
        wait_for_end(app, receipt)
        assert len(set(server.copies[receipt.message_id])) == 1

    def test_what_is_rolled_back_never_reaches_the_broker(
        self, workplace: Workplace, tmp_path: Path
    ) -> None:
        """And what is committed does, but not before."""
        queue = workplace.queue("other")
        app = workplace.app(queue, MAIL_OUTBOX_URL=f"sqlite:///{tmp_path}/outbox.sqlite")
        with Session(create_engine(f"sqlite:///{tmp_path}/shop.sqlite")) as session:
            session.execute(text("CREATE TABLE bought (what TEXT)"))
            send(app, session=session)
            session.rollback()
            send(app, session=session)
            assert workplace.waiting(queue) == 0
            session.commit()
        wait_until(lambda: workplace.waiting(queue) == 1, "task at the broker")
        workplace.flush(queue)
