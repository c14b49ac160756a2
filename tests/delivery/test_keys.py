"""A worker that has not the key of what it is to send, and the next one that has it."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from delivery.conftest import Road, letter, put
from flask_outbox.delivery.settings import WorkerSettings
from flask_outbox.delivery.worker import Worker
from flask_outbox.ledger.file import DrainerLock
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.store import Store
from flask_outbox.rules.retry import RetryPolicy


def drain(url: str, keys: tuple[bytes, ...], road: Road) -> dict[str, int]:
    """Run a worker of its own process's keys until nothing is due; what is in the outbox then."""
    store = Store(url, keys=keys)

    async def main() -> None:
        assert store.path is not None
        lock = DrainerLock(store.path, external=True)
        settings = WorkerSettings(drain_timeout=5, poll=0.05)
        worker = Worker(store, road.courier(), settings, policy=RetryPolicy(), lock=lock)
        worker.finish()
        await worker.run()

    asyncio.run(main())
    counts = dict(Reports(store).status(time.time()).counts)
    store.dispose()
    return counts


def test_what_is_held_for_want_of_a_key_goes_when_it_is_back(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    url, key = f"sqlite:///{store.path}", bytes(32)
    sender = Store(url, keys=[key])
    put(sender, letter(1), letter(2))
    sender.dispose()
    with caplog.at_level(logging.ERROR, "flask_outbox"):
        assert drain(url, (), Road()) == {"held": 2}
    assert "MAIL_OUTBOX_KEY is not set. Add the key, then restart the worker" in caplog.text
    assert drain(url, (key,), road := Road()) == {"sent": 2}
    assert len(road.carried) == 2
