"""What one process runs, and when it starts and ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from delivery.conftest import Road, letter, put
from flask_outbox.delivery.courier import Courier
from flask_outbox.delivery.process import Process
from flask_outbox.delivery.settings import WorkerSettings
from flask_outbox.delivery.worker import Worker
from flask_outbox.ledger.file import DrainerLock
from flask_outbox.ledger.store import Store
from flask_outbox.rules.retry import RetryPolicy
from servers.process import wait_until


def factory(store: Store) -> Callable[[Courier], Worker]:
    def make(courier: Courier) -> Worker:
        assert store.path is not None
        lock = DrainerLock(store.path, external=False)
        return Worker(store, courier, WorkerSettings(poll=0.05), policy=RetryPolicy(), lock=lock)

    return make


def process(store: Store, road: Road) -> Process:
    return Process(lambda: {"default": road}, factory(store), drain_timeout=5)


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
