"""What is done by hand and by workers beside sending: pauses, retries, rescue."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import update

from flask_outbox.errors import ConfigurationError
from flask_outbox.ledger import tables
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.store import EVERY, Store
from flask_outbox.mail.letter import Terms
from ledger.conftest import (
    ACCEPTED,
    DEFERRED,
    LEASE,
    NOW,
    REFUSED,
    beside,
    claim,
    ids,
    letter,
    put,
    result,
    stored,
)


def test_making_a_store_opens_nothing(tmp_path: Path) -> None:
    Store(f"sqlite:///{tmp_path}/folder/outbox.sqlite").dispose()
    assert list(tmp_path.iterdir()) == []


def test_an_environment_has_a_bounded_name() -> None:
    with pytest.raises(ConfigurationError, match="'MAIL_OUTBOX_ENV'"):
        Store("sqlite:////tmp/outbox.sqlite", env="x" * 65)


def test_a_disposed_store_opens_again_at_its_next_use(store: Store) -> None:
    put(store, 1)
    store.dispose()
    assert ids(claim(store)) == [1]


# -- a clock that was set back ---------------------------------------------------------------------------------


def test_what_a_clock_that_was_ahead_has_stored_is_due_at_once(store: Store) -> None:
    put(store, 1, now=NOW + 3_600)
    assert ids(claim(store)) == []
    assert store.bring_forward(NOW) == 1
    assert ids(claim(store)) == [1]


def test_what_is_to_be_sent_later_still_waits(store: Store) -> None:
    put(store, 1, now=NOW + 3_600, terms=Terms(due=NOW + 7_200))
    put(store, 2, terms=Terms(due=NOW + 7_200))
    assert store.bring_forward(NOW) == 0


# -- pauses ----------------------------------------------------------------------------------------------------


def test_a_pause_of_everything_closes_every_lane(store: Store) -> None:
    put(store, 1)
    store.add([(letter(2), Terms(transport="smtp://other.example"))], NOW)
    store.pause(EVERY, "maintenance", by="person")
    assert [lane.paused for lane in store.agenda(NOW)] == [True, True]
    assert store.resume_all() == 1
    assert [lane.paused for lane in store.agenda(NOW)] == [False, False]


def paused(store: Store) -> dict[str, str]:
    return dict(Reports(store).status(NOW).paused)


def test_a_person_may_lift_any_pause(store: Store) -> None:
    store.pause("default", "wrong password", by="worker")
    assert store.resume("default")
    assert paused(store) == {}
    assert not store.resume("default")


def test_a_worker_lifts_only_what_a_worker_paused(store: Store) -> None:
    store.pause("default", "maintenance", by="person")
    assert not store.resume("default", by="worker")
    store.pause("other", "wrong password", by="worker")
    assert store.resume("other", by="worker")
    assert paused(store) == {"default": "maintenance"}


def test_a_workers_pause_does_not_replace_a_persons(store: Store) -> None:
    store.pause("default", "maintenance", by="person")
    store.pause("default", "wrong password", by="worker")
    assert paused(store) == {"default": "maintenance"}


def test_a_persons_pause_replaces_a_workers(store: Store) -> None:
    store.pause("default", "wrong password", by="worker")
    store.pause("default", "maintenance", by="person")
    assert paused(store) == {"default": "maintenance"}


def test_a_pause_belongs_to_its_environment(store: Store) -> None:
    staging = beside(store, "staging")
    staging.pause("default", "maintenance", by="person")
    assert (paused(store), paused(staging)) == ({}, {"default": "maintenance"})
    staging.dispose()


# -- by hand ---------------------------------------------------------------------------------------------------


def test_a_cancelled_letter_is_not_sent(store: Store) -> None:
    put(store, 1, 2)
    assert store.cancel(letter(1).id, NOW)
    assert ids(claim(store)) == [2]
    view = stored(store, 1)
    assert (view.state, view.reason, view.finished) == ("cancelled", "by hand", NOW)


def test_what_is_being_sent_or_over_or_unknown_cannot_be_cancelled(store: Store) -> None:
    put(store, 1)
    (got,) = claim(store)
    assert not store.cancel(letter(1).id, NOW)
    store.finish([result(got, ACCEPTED)], NOW)
    assert not store.cancel(letter(1).id, NOW)
    assert not store.cancel(letter(2).id, NOW)


def test_a_retried_letter_starts_anew_for_those_who_did_not_get_it(store: Store) -> None:
    sent = letter(1, "a@example.org", "b@example.org")
    store.add([(sent, Terms(expires=NOW + 99))], NOW)
    (got,) = claim(store)
    store.finish([result(got, REFUSED)], NOW)
    later = NOW + 1_000_000
    assert store.retry(sent.id, later)
    (again,) = claim(store, now=later)
    assert again.to == ("a@example.org", "b@example.org")
    assert (again.attempts, again.created, again.expires) == (0, later, None)


def test_a_retry_does_not_reach_who_has_the_mail(store: Store) -> None:
    sent = letter(1, "a@example.org", "b@example.org")
    store.add([(sent, Terms(guarantee="at_most_once"))], NOW)
    (got,) = claim(store)
    store.finish([result(got, {"a@example.org": ACCEPTED, "b@example.org": DEFERRED})], NOW)
    (got,) = claim(store, now=NOW + 60)
    store.mark_content_started(got, NOW + 60)
    assert claim(store, now=NOW + 60 + LEASE) == []
    assert store.retry(sent.id, NOW + 99)
    (again,) = claim(store, now=NOW + 99)
    assert again.to == ("b@example.org",)


def test_what_is_live_or_sent_or_unknown_cannot_be_retried(store: Store) -> None:
    store.add([(letter(1, "a@example.org", "b@example.org"), Terms())], NOW)
    assert not store.retry(letter(1).id, NOW)
    outcomes = {"a@example.org": ACCEPTED, "b@example.org": REFUSED}
    store.finish([result(*claim(store), outcomes)], NOW)
    assert not store.retry(letter(1).id, NOW)
    assert [r.state for r in stored(store, 1).recipients] == ["accepted", "refused"]
    assert not store.retry(letter(2).id, NOW)


# -- workers ---------------------------------------------------------------------------------------------------


def workers(store: Store) -> list[tuple[str, int, float]]:
    return [(one.id, one.pid, one.beat) for one in Reports(store).status(NOW).workers]


def test_a_worker_is_known_until_it_ends(store: Store) -> None:
    worker = store.register_worker(NOW)
    assert workers(store) == [(worker, os.getpid(), NOW)]
    store.beat(NOW + 10)
    assert workers(store) == [(worker, os.getpid(), NOW + 10)]
    store.unregister_worker()
    assert workers(store) == []


def test_the_only_drainer_frees_everything_and_forgets_the_dead(store: Store) -> None:
    dead = beside(store, "staging")
    dead.register_worker(NOW)
    put(dead, 1)
    (stale,) = claim(dead)
    mine = store.register_worker(NOW)
    put(store, 2)
    claim(store)
    assert store.rescue_all(NOW + 1) == 2
    assert [worker for worker, *_ in workers(store)] == [mine]
    assert workers(dead) == []
    (again,) = claim(dead, now=NOW + 1)
    assert (again.rescues, again.attempts) == (1, 0)
    assert dead.finish([result(stale, ACCEPTED)], NOW + 1) == set()
    dead.dispose()


def test_what_a_dead_process_of_this_host_had_in_hand_is_freed(store: Store) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, alive = (beside(store) for _ in range(2))
    dead_worker, alive_worker = dead.register_worker(NOW), alive.register_worker(NOW)
    with store.database.transaction() as connection:
        its_row = update(tables.worker).where(tables.worker.c.id == dead_worker)
        connection.execute(its_row.values(pid=gone.pid))
    put(store, 1, 2)
    claim(dead, 1)
    claim(alive, 1)
    assert store.rescue_dead(NOW) == 1
    assert [worker for worker, *_ in workers(store)] == [alive_worker]
    (again,) = claim(store)
    assert (ids([again]), again.rescues) == ([1], 1)
    dead.dispose()
    alive.dispose()


def test_a_process_of_another_host_is_not_judged(store: Store) -> None:
    store.register_worker(NOW)
    with store.database.transaction() as connection:
        connection.execute(update(tables.worker).values(boot_id="another", pid=2**22 + 1))
    put(store, 1)
    claim(store)
    assert store.rescue_dead(NOW) == 0
