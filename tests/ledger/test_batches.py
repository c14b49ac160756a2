"""A batch that is published whole: all of it is sent, or nothing, whenever a process dies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import func, select, update

from flask_outbox.errors import OutboxError
from flask_outbox.ledger import tables
from flask_outbox.ledger.batches import GROUP, SILENCE
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Place, Terms
from flask_outbox.rules.retention import EVER, Retention
from ledger.conftest import ACCEPTED, NOW, claim, ids, letter, result

BATCH = "b" * 32


def stored(store: Store, count: int, *, waits: bool = True, first: int = 0) -> None:
    letters = [replace(letter(n, attached=[b"data"]), tags=("news",)) for n in range(first, count)]
    places = [Place(BATCH, n, waits) for n in range(first, count)]
    store.add([(one, Terms(place=place)) for one, place in zip(letters, places, strict=True)], NOW)


def begun(store: Store, count: int = 3) -> None:
    store.batches.begin(BATCH, NOW)
    stored(store, count)


def rows(store: Store) -> dict[str, int]:
    """How many rows there are in the tables that a batch fills, but for the attachments."""
    names = ("letter", "recipient", "letter_blob", "letter_tag", "delivery", "batch_letter")
    with store.database.snapshot() as connection:
        return {
            name: connection.execute(
                select(func.count()).select_from(tables.metadata.tables[f"mail_{name}"])
            ).scalar_one()
            for name in (*names, "batch")
        }


def change(store: Store, **values: object) -> None:
    with store.database.transaction() as connection:
        connection.execute(update(tables.batch).values(**values))


def of_a_dead_process(store: Store) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    change(store, pid=gone.pid)


def test_letters_of_a_batch_cannot_be_claimed_before_it_is_published(store: Store) -> None:
    begun(store)
    assert claim(store) == []
    assert store.batches.decide(BATCH, "published")
    store.batches.carry_out(BATCH, "published", NOW)
    assert ids(claim(store)) == [0, 1, 2]


def test_a_letter_that_is_not_published_is_neither_shown_nor_cancelled_nor_retried(
    store: Store,
) -> None:
    begun(store)
    reports = Reports(store)
    assert reports.get(letter(0).id) is None
    assert list(reports.list()) == []
    assert reports.status(NOW).counts == {}
    assert not store.cancel(letter(0).id, NOW)
    assert not store.retry(letter(0).id, NOW)


def test_a_discarded_batch_leaves_nothing_but_its_attachments(store: Store) -> None:
    begun(store, GROUP + 1)
    store.batches.decide(BATCH, "discarded")
    store.batches.carry_out(BATCH, "discarded", NOW)
    assert set(rows(store).values()) == {0}


def test_a_published_batch_is_found_by_its_id_in_its_order(store: Store) -> None:
    begun(store)
    store.batches.decide(BATCH, "published")
    store.batches.carry_out(BATCH, "published", NOW)
    assert list(Reports(store).of_batch(BATCH)) == [letter(n).id for n in range(3)]
    assert rows(store)["batch"] == 0


@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001])
def test_the_ids_of_a_batch_are_all_read_page_by_page(store: Store, count: int) -> None:
    stored(store, count, waits=False)
    assert list(Reports(store).of_batch(BATCH)) == [letter(n).id for n in range(count)]


def test_what_a_dead_process_has_not_decided_is_discarded(store: Store) -> None:
    begun(store)
    of_a_dead_process(store)
    store.batches.tidy(NOW)
    assert set(rows(store).values()) == {0}


@pytest.mark.parametrize("decided", ["published", "discarded"])
def test_what_a_dead_process_has_decided_is_carried_out(store: Store, decided: str) -> None:
    begun(store, GROUP + 1)
    store.batches.decide(BATCH, decided)
    store.batches.carry_out(BATCH, decided, NOW, groups=1)
    assert rows(store)["delivery"] == (GROUP if decided == "published" else 0)
    store.batches.tidy(NOW)
    assert rows(store)["letter"] == rows(store)["delivery"]
    assert rows(store)["delivery"] == (GROUP + 1 if decided == "published" else 0)
    assert rows(store)["batch"] == 0


def test_a_batch_that_is_still_being_stored_is_left_alone(store: Store) -> None:
    begun(store)
    store.batches.tidy(NOW + SILENCE - 1)
    assert rows(store)["letter"] == 3


def test_a_process_of_another_host_is_given_a_day(store: Store) -> None:
    begun(store)
    of_a_dead_process(store)
    change(store, host="elsewhere")
    store.batches.tidy(NOW + SILENCE - 1)
    assert rows(store)["letter"] == 3
    store.batches.tidy(NOW + SILENCE + 1)
    assert rows(store)["letter"] == 0


def test_a_batch_that_was_given_up_takes_no_further_letter(store: Store) -> None:
    begun(store)
    store.batches.tidy(NOW + SILENCE + 1)
    with pytest.raises(OutboxError, match="got no further message for 24 hours"):
        stored(store, 4, first=3)
    assert rows(store)["letter"] == 0
    assert not store.batches.decide(BATCH, "published")


def test_tidying_takes_no_more_groups_than_it_is_given(store: Store) -> None:
    begun(store, 2 * GROUP)
    store.batches.decide(BATCH, "published")
    store.batches.tidy(NOW, groups=1)
    assert rows(store)["delivery"] == GROUP


def test_a_group_that_another_process_has_published_meanwhile_is_not_published_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(store)
    store.batches.decide(BATCH, "published")
    read = store.batches._waiting

    def overtaken(batch: str, after: int) -> object:
        found = read(batch, after)
        monkeypatch.undo()
        store.batches.carry_out(BATCH, "published", NOW)
        return found

    monkeypatch.setattr(store.batches, "_waiting", overtaken)
    store.batches.carry_out(BATCH, "published", NOW)
    assert ids(claim(store)) == [0, 1, 2]


def test_a_held_letter_is_held_when_it_is_published(store: Store) -> None:
    store.batches.begin(BATCH, NOW)
    store.add([(letter(0), Terms(hold="not allowed", place=Place(BATCH, 0, True)))], NOW)
    store.batches.decide(BATCH, "published")
    store.batches.carry_out(BATCH, "published", NOW)
    assert [view.state for view in Reports(store).list()] == ["held"]


def test_what_is_purged_leaves_neither_its_place_nor_its_tags(store: Store) -> None:
    stored(store, 2, waits=False)
    store.finish([result(one, ACCEPTED) for one in claim(store)], NOW)
    rule = Retention({"sent": 0.0}, {}, EVER)
    assert sum(step.messages for step in store.sweeps.whole(rule, NOW + 1)) == 2
    assert set(rows(store).values()) == {0}


# -- cost ------------------------------------------------------------------------------------------------------


def test_five_hundred_letters_are_four_inserts(
    store: Store, traced: Callable[[], list[str]]
) -> None:
    batch = [(letter(n), Terms(place=Place(BATCH, n))) for n in range(500)]
    store.add(batch, NOW)
    assert traced() == [
        "BEGIN IMMEDIATE",
        "INSERT INTO mail_letter",
        "INSERT INTO mail_delivery",
        "INSERT INTO mail_recipient",
        "INSERT INTO mail_batch_letter",
        "COMMIT",
    ]


def test_what_is_to_be_published_later_costs_a_heartbeat_in_the_place_of_an_insert(
    store: Store, traced: Callable[[], list[str]]
) -> None:
    store.batches.begin(BATCH, NOW)
    before = len(traced())
    store.add([(letter(n), Terms(place=Place(BATCH, n, True))) for n in range(500)], NOW)
    assert traced()[before:] == [
        "BEGIN IMMEDIATE",
        "INSERT INTO mail_letter",
        "INSERT INTO mail_recipient",
        "UPDATE mail_batch SET",
        "INSERT INTO mail_batch_letter",
        "COMMIT",
    ]


def test_publishing_five_hundred_is_one_look_one_update_and_one_insert(
    store: Store, traced: Callable[[], list[str]]
) -> None:
    begun(store, 500)
    store.batches.decide(BATCH, "published")
    before = len(traced())
    store.batches.carry_out(BATCH, "published", NOW, groups=1)
    assert traced()[before:] == [
        "SELECT mail_batch_letter.position, mail_batch_letter.letter_id,",
        "BEGIN IMMEDIATE",
        "UPDATE mail_batch_letter SET",
        "INSERT INTO mail_delivery",
        "COMMIT",
    ]
