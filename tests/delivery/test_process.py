"""What one process runs, and when it starts and ends."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from delivery.conftest import ACCEPTED, Road, letter, put
from flask_outbox.delivery.courier import Courier
from flask_outbox.delivery.process import Process
from flask_outbox.delivery.settings import WorkerSettings
from flask_outbox.delivery.worker import Worker
from flask_outbox.ledger.file import DrainerLock
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Letter
from flask_outbox.rules.outcomes import Kind, Report
from flask_outbox.rules.retry import RetryPolicy
from flask_outbox.transports.base import Clearance
from servers.process import wait_until


def factory(store: Store) -> Callable[[Courier], Worker]:
    def make(courier: Courier) -> Worker:
        assert store.path is not None
        lock = DrainerLock(store.path, external=False)
        return Worker(store, courier, WorkerSettings(poll=0.05), policy=RetryPolicy(), lock=lock)

    return make


def process(store: Store, road: Road) -> Process:
    return Process(road.courier, factory(store), drain_timeout=5)


def test_nothing_runs_before_it_is_needed(store: Store) -> None:
    before = threading.active_count()
    process(store, Road()).close()
    assert threading.active_count() == before


def test_carry_waits_for_the_answer(store: Store) -> None:
    road = Road()
    one = process(store, road)
    report = one.carry(letter(1), ("user1@example.org",), "default")
    one.close()
    assert report.all_accepted
    assert report.transport == "default"
    assert road.closed


def test_a_transport_that_does_not_exist_is_an_outcome(store: Store) -> None:
    one = process(store, Road())
    report = one.carry(letter(1), ("user1@example.org",), "marketing")
    one.close()
    assert "no transport named 'marketing'" in report.outcomes["user1@example.org"].text


def test_the_worker_is_started_once_however_often_it_is_asked_for(store: Store) -> None:
    one = process(store, Road())
    one.ensure_worker()
    threads = threading.active_count()
    for _ in range(5):
        one.ensure_worker()
    assert threading.active_count() <= threads + 3  # its own SQL, DNS and watcher threads
    one.close()


def test_a_process_that_served_requests_lets_the_rest_lie(store: Store) -> None:
    road = Road(concurrency=1)
    one = process(store, road)
    one.serves = True
    put(store, *(letter(number) for number in range(200)))
    one.ensure_worker()
    wait_until(lambda: len(road.carried) > 0, "first letter")
    one.close()
    assert len(road.carried) < 200


def test_a_script_drains_what_is_due_first(store: Store) -> None:
    road = Road()
    one = process(store, road)
    put(store, *(letter(number) for number in range(100)))
    one.ensure_worker()
    one.close()
    assert len(road.carried) == 100


def test_closing_ends_every_thread(store: Store) -> None:
    before = threading.active_count()
    one = process(store, Road())
    one.carry(letter(1), ("user1@example.org",), "default")
    one.ensure_worker()
    one.close()
    wait_until(lambda: threading.active_count() == before, "end of the threads")


def test_a_worker_without_a_sign_of_life_counts_as_stuck(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = Road()
    one = process(store, road)
    assert not one.stuck()
    put(store, letter(1))
    one.ensure_worker()
    wait_until(lambda: len(road.carried) == 1, "first letter")
    assert not one.stuck()
    monkeypatch.setattr("flask_outbox.delivery.process.STALE", -1.0)
    assert one.stuck()
    one.close()


def test_a_closed_process_starts_no_worker_for_a_send_that_began_before(store: Store) -> None:
    one = process(store, Road())
    one.ensure_worker()
    one.close()
    before = threading.active_count()
    one.ensure_worker()
    assert threading.active_count() == before


class Gate:
    """A server that answers when it is told."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()

    async def answer(self, letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        self.entered.set()
        while not self.leave.is_set():
            await asyncio.sleep(0.01)
        return Report.of(to, ACCEPTED)


def test_closing_waits_for_a_send_that_is_waited_for(store: Store) -> None:
    gate = Gate()
    one = process(store, Road(gate.answer))
    with ThreadPoolExecutor() as threads:
        carried = threads.submit(one.carry, letter(1), ("user1@example.org",), "default")
        assert gate.entered.wait(5)
        closed = threads.submit(one.close)
        gate.leave.set()
        closed.result(5)
        assert carried.result(5).all_accepted


def test_a_send_that_closing_did_not_wait_for_may_have_been_accepted(store: Store) -> None:
    gate = Gate()
    one = Process(Road(gate.answer).courier, None, drain_timeout=0)
    with ThreadPoolExecutor() as threads:
        carried = threads.submit(one.carry, letter(1), ("user1@example.org",), "default")
        assert gate.entered.wait(5)
        one.close()
        assert carried.result(5).outcomes["user1@example.org"].kind is Kind.UNKNOWN


def test_a_watcher_that_hangs_does_not_hold_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("flask_outbox.delivery.recorder.PATIENCE", 0.01)
    called, leave = threading.Event(), threading.Event()

    def watch(*told: object) -> None:
        called.set()
        leave.wait(20)

    def make(courier: Courier) -> Worker:
        return Worker(
            store, courier, WorkerSettings(poll=0.05), policy=RetryPolicy(), watchers=[watch]
        )

    one = Process(Road().courier, make, drain_timeout=5)
    put(store, letter(1))
    one.ensure_worker()
    assert called.wait(20)
    one.close()
    leave.set()
    assert "did not come back" in caplog.text


def test_a_closed_process_is_not_kept_for_the_exit(store: Store) -> None:
    one = process(store, Road())
    one.carry(letter(1), ("user1@example.org",), "default")
    one.close()
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
