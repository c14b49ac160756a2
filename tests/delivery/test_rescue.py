"""Leases: kept while a worker lives, taken from it when it is dead, and never from itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import func, select, update

from delivery.conftest import ACCEPTED, Road, accept, letter, put
from flask_outbox.delivery import heartbeat
from flask_outbox.delivery.settings import WorkerSettings
from flask_outbox.delivery.worker import Worker
from flask_outbox.errors import OutboxError
from flask_outbox.ledger import tables
from flask_outbox.ledger.clock import boot_clock
from flask_outbox.ledger.file import DrainerLock
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Letter, Terms
from flask_outbox.rules.outcomes import Report
from flask_outbox.rules.retry import RetryPolicy
from flask_outbox.transports.base import Clearance

SETTINGS = WorkerSettings(drain_timeout=5, poll=0.02, heartbeat=0.05)
SERVERS = ("postgresql+psycopg", "mysql+pymysql")


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    store = Store(database)
    yield store
    store.dispose()


def work(store: Store, road: Road, settings: WorkerSettings, until: Callable[[], bool]) -> None:
    """Run a worker until something is so."""

    async def main() -> None:
        lock = DrainerLock(store.path, external=True) if store.path else None
        worker = Worker(store, road.courier(), settings, policy=RetryPolicy(), lock=lock)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(20):
            while not until():
                await asyncio.sleep(0.01)
        worker.stop()
        await running

    asyncio.run(main())


def state(store: Store, number: int) -> str:
    found = Reports(store).get(letter(number).id)
    assert found is not None
    return found.state


def test_a_lease_is_extended_for_as_long_as_the_sending_takes(store: Store) -> None:
    def ends() -> int:
        with store.database.snapshot() as connection:
            return int(connection.execute(select(func.max(tables.delivery.c.due))).scalar_one())

    async def slow(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        first = await asyncio.to_thread(ends)
        while await asyncio.to_thread(ends) < first + 200:  # milliseconds
            await asyncio.sleep(0.01)
        return await accept(letter, to, clearance)

    put(store, letter(1))
    work(store, Road(slow), SETTINGS, lambda: state(store, 1) == "sent")


@pytest.mark.only(*SERVERS)
def test_what_a_dead_worker_of_this_machine_had_is_sent_at_the_next_heartbeat_of_another(
    store: Store,
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    its = letter(2)
    put(store, letter(1))
    dead = Store(store.database.url.render_as_string(hide_password=False))

    async def die(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        """One dies that has another letter in hand, after this worker has begun."""
        put(store, its)
        id = dead.register_worker(store.now())
        assert dead.claim("default", 1, 1, now=store.now(), lease=3_600)
        with store.database.transaction() as connection:
            its_row = update(tables.worker).where(tables.worker.c.id == id)
            connection.execute(its_row.values(pid=gone.pid))
        road.answer = accept
        return Report.of(to, ACCEPTED)

    road = Road(die, concurrency=1)
    work(store, road, SETTINGS, lambda: state(store, 1) == "sent" == state(store, 2))
    dead.dispose()


class Outage:
    """The database refuses everything while ``away`` is set; how long that was, is told at its end."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away = False
        self._store = store
        self._ahead = 0.0
        direct = store.database.direct

        @contextmanager
        def at_times(**options: bool) -> Iterator[object]:
            if self.away:
                raise OutboxError("the database is away")
            with direct(**options) as line:
                yield line

        monkeypatch.setattr(store.database, "direct", at_times)
        monkeypatch.setattr(heartbeat, "boot_clock", lambda: boot_clock() + self._ahead)

    def end(self, lasted: float) -> None:
        """It was away for so many seconds, and all leases are over."""
        with self._store.database.transaction() as connection:
            connection.execute(update(tables.delivery).values(due=0))
        self._ahead = lasted
        self.away = False


def test_after_an_outage_longer_than_the_lease_a_worker_does_not_send_again_what_it_has_sent(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it has sent waits to be recorded, and it must not claim it first."""
    put(store, *map(letter, range(6)))
    outage, sent = Outage(store, monkeypatch), []

    async def take(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        outage.away = outage.away or not sent
        report = await accept(letter, to, clearance)
        sent.append(letter.id)
        return report

    def over() -> bool:
        if outage.away and len(sent) == 6 and "6 results wait" in caplog.text:
            outage.end(60.0)
        return all(state(store, number) == "sent" for number in range(6))

    work(store, Road(take), replace(SETTINGS, heartbeat=10.0), over)
    assert sorted(sent) == [letter(number).id for number in range(6)]


def test_what_expires_does_so_by_the_clock_of_the_outbox(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose machine is an hour ahead of the database's."""
    now = store.now()
    put(store, letter(1), terms=Terms(expires=now + 1_800))
    if store.path is None:
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 3_600)
    road = Road()
    work(store, road, SETTINGS, lambda: bool(road.carried))
    assert state(store, 1) == "sent"
    assert len(road.carried) == 1
