"""A worker takes away what is over, between what it has to send."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest

from delivery.conftest import Road, letter, put
from flask_outbox.delivery.settings import WorkerSettings
from flask_outbox.delivery.worker import Worker
from flask_outbox.errors import OutboxError
from flask_outbox.ledger.file import DrainerLock
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.retention import Swept
from flask_outbox.ledger.store import Store
from flask_outbox.rules.retention import Retention
from flask_outbox.rules.retry import RetryPolicy
from flask_outbox.rules.states import State

#: What is over goes at once.
AT_ONCE = WorkerSettings(
    drain_timeout=5, poll=0.02, settle=0.01, retention=Retention({State.SENT: 0, State.DEAD: 0})
)


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    store = Store(database)
    yield store
    store.dispose()


def work(
    store: Store, road: Road, until: Callable[[], Awaitable[bool]], settings: WorkerSettings
) -> None:
    """Run a worker until something is so."""

    async def main() -> None:
        lock = DrainerLock(store.path, external=True) if store.path else None
        worker = Worker(store, road.courier(), settings, policy=RetryPolicy(), lock=lock)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(10):
            while not await until():
                await asyncio.sleep(0.01)
        worker.stop()
        await running

    asyncio.run(main())


def counts(store: Store) -> dict[str, int]:
    return dict(Reports(store).status(time.time()).counts)


def test_what_is_over_goes_while_the_rest_is_sent(store: Store) -> None:
    first = int(time.time() * 1000) << 80  # as letters are numbered
    put(store, *(letter(first + number) for number in range(50)))
    store.cancel(letter(first + 1).id, time.time())
    work(store, road := Road(), lambda: _is(counts(store) == {"cancelled": 1}), _often(AT_ONCE))
    assert len(road.carried) == 49


def test_what_is_kept_by_default_stays(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    put(store, letter(1))
    settings = replace(AT_ONCE, retention=Retention())
    swept = _noting(store)
    work(store, Road(), lambda: _is(bool(swept) and counts(store) == {"sent": 1}), settings)
    assert counts(store) == {"sent": 1}
    assert "retention" not in caplog.text


def test_a_stand_by_takes_nothing_away(store: Store) -> None:
    """One sweeps, and that is the drainer."""
    swept = _noting(store)
    if store.path is None:
        return
    other = DrainerLock(store.path, external=True)
    assert other.acquire()
    looks = 0

    async def looked() -> bool:
        nonlocal looks
        looks += 1
        return looks > 5

    work(store, Road(), looked, AT_ONCE)
    other.release()
    assert not swept


def test_a_sweep_that_fails_is_told_and_ends_nothing(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(rule: Retention, now: float) -> Iterator[Swept]:
        raise OutboxError("the disk is full")
        yield Swept()

    store.sweeps.routine = fail  # type: ignore[method-assign]
    put(store, letter(1))
    with caplog.at_level(logging.ERROR, "flask_outbox"):
        work(
            store,
            Road(),
            lambda: _is("disk is full" in caplog.text and counts(store) == {"sent": 1}),
            AT_ONCE,
        )
    assert "what is over cannot be taken away" in caplog.text


async def _is(value: bool) -> bool:
    return value


def _noting(store: Store) -> list[Retention]:
    """The sweeps that are begun."""
    begun: list[Retention] = []
    routine = store.sweeps.routine

    def noted(rule: Retention, now: float) -> Iterator[Swept]:
        begun.append(rule)
        return routine(rule, now)

    store.sweeps.routine = noted  # type: ignore[method-assign]
    return begun


class _Often(Retention):
    """Without the minute between two sweeps."""

    interval = 0.02


def _often(settings: WorkerSettings) -> WorkerSettings:
    rule = settings.retention
    return replace(settings, retention=_Often(rule.messages, rule.bodies, rule.keys))
