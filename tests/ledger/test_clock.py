"""By what clock leases and due times are kept."""

from __future__ import annotations

import time

import pytest

from flask_outbox.ledger.clock import Clock
from flask_outbox.ledger.store import Store

#: Seconds by which the clocks of this machine and of the server on it may seem to differ, on a busy day.
SLACK = 30.0


def test_a_clock_that_was_not_set_is_this_machines() -> None:
    before = time.time()
    assert before <= Clock().now() <= time.time()


def test_a_clock_that_was_set_goes_on_from_there() -> None:
    clock = Clock()
    clock.set(1_000.0)
    first = clock.now()
    assert 1_000.0 <= first <= clock.now() < 1_000.0 + SLACK


def test_a_clock_that_was_set_does_not_heed_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    clock.set(1_000.0)
    monkeypatch.setattr(time, "time", lambda: 5e9)
    assert clock.now() < 1_000.0 + SLACK


@pytest.mark.only("sqlite")
def test_a_file_is_kept_by_this_machines_clock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 5e9)
    assert store.now() == 5e9


@pytest.mark.only("postgresql+psycopg", "postgresql+psycopg2", "mysql+pymysql")
def test_a_server_is_asked_for_its_time_before_the_first_moment_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = time.time()
    monkeypatch.setattr(time, "time", lambda: 5e9)  # a machine whose clock is wrong
    assert abs(store.now() - before) < SLACK
