"""``MAIL_WORKER_RATE``: at no moment has a worker started more than its rate allows, and half a second's worth."""

from __future__ import annotations

import asyncio
import time

from delivery.conftest import Road, accept, letter, put
from flask_outbox.delivery.settings import WorkerSettings
from flask_outbox.delivery.worker import Worker
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Letter
from flask_outbox.rules.outcomes import Report
from flask_outbox.rules.retry import RetryPolicy
from flask_outbox.transports.base import Clearance

#: What the worker thread has where nothing is set.
RATE = 200


def test_the_cap_of_the_worker_thread_is_kept_letter_by_letter(store: Store) -> None:
    put(store, *(letter(number) for number in range(300)))
    started: list[float] = []

    async def noting(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        started.append(time.monotonic())
        return await accept(letter, to, clearance)

    async def drain() -> float:
        begun = time.monotonic()
        settings = WorkerSettings(rate=RATE, poll=0.05)
        worker = Worker(store, Road(noting).courier(), settings, policy=RetryPolicy())
        worker.finish()
        await worker.run()
        return begun

    begun = asyncio.run(drain())
    assert len(started) == 300
    ahead = [count - RATE * (at - begun) for count, at in enumerate(started, 1)]
    assert max(ahead) <= RATE / 2
