"""A real outbox in the test's own process, drained over real SMTP."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from flask_outbox.delivery.courier import Courier
from flask_outbox.delivery.settings import WorkerSettings
from flask_outbox.delivery.worker import Worker
from flask_outbox.ledger.reports import MessageView, Reports
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Letter, Terms
from flask_outbox.rules.retry import RetryPolicy
from flask_outbox.transports.smtp import SmtpSettings, SmtpTransport


class Outbox:
    """An outbox, and the workers that drain it."""

    def __init__(self, file: Path) -> None:
        self.store = Store(f"sqlite:///{file}")

    def put(self, *letters: Letter, guarantee: str = "at_least_once") -> None:
        terms = Terms(guarantee=guarantee)
        self.store.add([(letter, terms) for letter in letters], time.time())

    def drain(self, port: int, **options: Any) -> None:
        """Work until nothing is left, each time by a new worker; retries are due at once."""
        for _ in range(10):
            self.work(port, delay=0.0, **options)
            if not Reports(self.store).left():
                return
        raise AssertionError("ten workers in a row left something")

    def work(self, port: int, *, delay: float, **options: Any) -> None:
        """Work until nothing is due.

        :param delay: seconds before a retry.
        """
        given = {"pool_size": 1, "timeout": 5.0, "tls": "never", **options}
        smtp = SmtpSettings("127.0.0.1", port, **given)

        async def work() -> None:
            courier = Courier(lambda: {"default": SmtpTransport(smtp)})
            policy = RetryPolicy(delays=(delay,), jitter=0.0)
            worker = Worker(self.store, courier, WorkerSettings(poll=0.02), policy=policy)
            worker.finish()
            await worker.run()
            await courier.aclose()

        asyncio.run(work())

    def make_due(self) -> None:
        """As if the time of the next try had come."""
        assert self.store.path is not None
        with closing(sqlite3.connect(self.store.path)) as connection, connection:
            connection.execute("UPDATE mail_delivery SET due = 0 WHERE state = 'queued'")

    def view(self, letter: Letter) -> MessageView:
        found = Reports(self.store).get(letter.id)
        assert found is not None
        return found
