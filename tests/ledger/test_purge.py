"""What is purged is gone with all that belongs to it; what is not, is whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flask_outbox.ledger import store as store_module
from flask_outbox.ledger import tables
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Terms
from ledger.conftest import ACCEPTED, NOW, REFUSED, beside, claim, letter, put, result, stored

DAY = 86_400.0


def end(store: Store, outcome: object = ACCEPTED) -> None:
    """End all that is due."""
    store.finish([result(one, outcome) for one in claim(store)], NOW)  # type: ignore[arg-type]


def rows(store: Store) -> dict[str, int]:
    """How many rows each table has, where it has any."""
    with store.database.snapshot() as connection:
        counts = {
            name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
            for name in tables.metadata.tables
        }
    return {name: count for name, count in counts.items() if count and name != "mail_schema"}


def purge(store: Store, state: str = "sent", until: float = NOW + DAY) -> int:
    return sum(store.purge(state, until, NOW + 2 * DAY))


def test_a_purged_message_leaves_nothing_but_its_key(store: Store) -> None:
    store.add([(letter(1, attached=[b"x" * 5_000]), Terms(key="welcome:1"))], NOW)
    end(store)
    assert purge(store) == 1
    assert rows(store) == {"mail_key": 1}


def test_a_message_that_ended_later_or_otherwise_or_not_at_all_stays(store: Store) -> None:
    put(store, 1)
    end(store, REFUSED)
    put(store, 2)
    end(store)
    put(store, 3)
    assert (purge(store, until=NOW), purge(store, "dead")) == (0, 1)
    assert Reports(store).get(letter(1).id) is None
    assert (stored(store, 2).state, stored(store, 3).state) == ("sent", "queued")


def test_an_attachment_that_another_message_has_stays(store: Store) -> None:
    shared = b"y" * 5_000
    store.add([(letter(1, attached=[shared]), Terms())], NOW)
    end(store)
    store.add([(letter(2, attached=[shared]), Terms())], NOW)
    purge(store)
    kept = Reports(store).content(letter(2).id)
    assert kept is not None
    assert kept.attachments[0].data == shared


def test_an_attachment_that_a_send_may_just_rely_on_stays(store: Store) -> None:
    store.add([(letter(1, attached=[b"z" * 5_000]), Terms())], NOW)
    end(store)
    assert sum(store.purge("sent", NOW + 1, NOW + 60)) == 1
    assert rows(store) == {"mail_blob": 1}


def test_another_environments_messages_stay(store: Store) -> None:
    put(store, 1)
    end(store)
    staging = beside(store, "staging")
    assert (staging.count_ended("sent", NOW + DAY), purge(staging)) == (0, 0)
    staging.dispose()
    assert stored(store, 1).state == "sent"


def test_it_goes_batch_by_batch_and_counts_exactly(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "BATCH", 3)
    put(store, *range(1, 9))
    end(store)
    put(store, 9)
    assert store.count_ended("sent", NOW + DAY) == 8
    assert list(store.purge("sent", NOW + DAY, NOW + DAY)) == [3, 3, 2]
    assert stored(store, 9).state == "queued"


def test_a_batch_costs_the_same_however_many_messages_stay(
    store: Store, effort: Callable[[Callable[[], object]], int]
) -> None:
    put(store, *range(1, 11))
    end(store)
    first = effort(lambda: purge(store))
    put(store, *range(11, 21))
    end(store)
    put(store, *range(100, 400))
    assert effort(lambda: purge(store)) < 2 * first
