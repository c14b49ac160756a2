"""Letters become rows: all of them, once, and only with their transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from flask_outbox.errors import MessageError
from flask_outbox.ledger import tables
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.sends import FRESH
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Terms
from ledger.conftest import NOW, beside, claim, ids, letter, put, stored


def count(store: Store, table: str) -> int:
    with store.database.snapshot() as connection:
        rows = select(func.count()).select_from(tables.metadata.tables[f"mail_{table}"])
        return int(connection.execute(rows).scalar_one())


def test_a_stored_letter_comes_back_as_it_was(store: Store) -> None:
    sent = letter(1, "a@example.org", "b@example.org", attached=[b"one", b"two"])
    store.add([(sent, Terms())], NOW)
    assert Reports(store).content(sent.id) == sent


def test_a_batch_is_stored_whole_or_not_at_all(store: Store) -> None:
    put(store, 2)
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        put(store, 1, 2, 3)
    assert count(store, "letter") == count(store, "delivery") == count(store, "recipient") == 1


def test_a_joined_letter_is_there_once_its_transaction_is(store: Store) -> None:
    with store.database.transaction() as connection:
        store.enqueue(connection, [(letter(1), Terms())], NOW)
    assert ids(claim(store)) == [1]


def test_a_joined_letter_that_is_rolled_back_leaves_nothing(store: Store) -> None:
    with store.database.transaction() as connection:
        batch = [(letter(1, attached=[b"data"]), Terms(key="k"))]
        assert store.enqueue(connection, batch, NOW) == [letter(1).id]
        connection.rollback()
    for table in ("letter", "delivery", "recipient", "blob", "letter_blob", "key"):
        assert count(store, table) == 0


def test_an_attachment_of_many_letters_is_stored_once(store: Store) -> None:
    data = b"x" * 100_000
    store.add([(letter(number, attached=[data]), Terms()) for number in (1, 2)], NOW)
    store.add([(letter(3, attached=[data, data, b"other"]), Terms())], NOW)
    assert count(store, "blob") == 2
    assert [c.letter.attachments[0].data for c in claim(store)] == [data] * 3


def test_an_attachment_not_used_for_long_is_touched(store: Store) -> None:
    with_data = [letter(number, attached=[b"data"]) for number in (1, 2, 3)]
    touched = []
    for sent, later in zip(with_data, (0, FRESH - 1, FRESH + 1), strict=True):
        store.add([(sent, Terms())], NOW + later)
        with store.database.snapshot() as connection:
            touched.append(connection.execute(select(tables.blob.c.touched)).scalar_one() / 1000)
    assert touched == [NOW, NOW, NOW + FRESH + 1]


def test_the_terms_are_kept(store: Store) -> None:
    terms = Terms("other", 0, NOW + 60, NOW + 90, "at_most_once")
    store.add([(letter(1), terms)], NOW)
    (got,) = store.claim("other", 0, 1, now=NOW + 60, lease=30)
    assert (got.transport, got.priority, got.expires) == ("other", 0, NOW + 90)
    assert (got.guarantee, got.created) == ("at_most_once", NOW)


def test_text_that_a_database_would_refuse_is_mended_for_the_list(store: Store) -> None:
    odd = replace(letter(1), subject="a\0b" + "é" * 300)
    store.add([(odd, Terms())], NOW)
    assert stored(store, 1).subject == "ab" + "é" * 198


# -- keys ------------------------------------------------------------------------------------------------------


def test_a_second_send_with_the_same_key_is_the_first(store: Store) -> None:
    first, again = letter(1, "a@example.org"), letter(2, "a@example.org")
    again = replace(again, subject=first.subject, date=first.date + 60)
    assert store.add([(first, Terms(key="k"))], NOW) == [first.id]
    assert store.add([(again, Terms(key="k")), (letter(3), Terms())], NOW) == [
        first.id,
        letter(3).id,
    ]
    assert ids(claim(store)) == [1, 3]


def test_the_same_key_twice_in_one_batch_is_one_send(store: Store) -> None:
    first = letter(1)
    again = replace(first, id=letter(2).id, message_id="<2@example.org>")
    assert store.add([(first, Terms(key="k")), (again, Terms(key="k"))], NOW) == [first.id] * 2


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "Other"},
        {"text": "Other"},
        {"html": "<p>Other"},
        {"envelope_to": ("other@example.org",)},
        {"attachments": letter(1, attached=[b"other"]).attachments},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_same_key_with_another_content_is_an_error(
    store: Store, change: dict[str, object]
) -> None:
    store.add([(letter(1), Terms(key="k"))], NOW)
    other = replace(letter(1), id=letter(2).id, **change)
    with pytest.raises(MessageError, match="'k' belongs to another message") as caught:
        store.add([(other, Terms(key="k"))], NOW)
    assert caught.value.field == "key"
    assert count(store, "letter") == 1


def test_a_key_belongs_to_its_environment(store: Store) -> None:
    staging = beside(store, "staging")
    store.add([(letter(1), Terms(key="k"))], NOW)
    staging.add([(letter(2), Terms(key="k"))], NOW)
    assert count(store, "letter") == 2
    staging.dispose()


# -- cost ------------------------------------------------------------------------------------------------------


def test_a_send_is_three_inserts(store: Store, traced: Callable[[], list[str]]) -> None:
    put(store, 1)
    assert traced() == [
        "BEGIN IMMEDIATE",
        "INSERT INTO mail_letter",
        "INSERT INTO mail_delivery",
        "INSERT INTO mail_recipient",
        "COMMIT",
    ]


def test_a_send_with_a_known_attachment_is_two_statements_more(
    store: Store, traced: Callable[[], list[str]]
) -> None:
    store.add([(letter(1, attached=[b"data"]), Terms())], NOW)
    first = len(traced())
    store.add([(letter(2, attached=[b"data"]), Terms())], NOW)
    assert traced()[first:] == [
        "BEGIN IMMEDIATE",
        "INSERT INTO mail_letter",
        "INSERT INTO mail_delivery",
        "INSERT INTO mail_recipient",
        "SELECT mail_blob.digest FROM",
        "INSERT INTO mail_letter_blob",
        "COMMIT",
    ]


def test_a_batch_takes_the_statements_of_one_letter(
    store: Store, traced: Callable[[], list[str]]
) -> None:
    put(store, *range(20))
    assert len(traced()) == 5


def test_two_threads_store_while_a_third_claims(store: Store) -> None:
    def send(first: int) -> None:
        for number in range(first, first + 40):
            put(store, number)

    senders = [threading.Thread(target=send, args=(first,)) for first in (0, 1_000)]
    for sender in senders:
        sender.start()
    claimed: list[int] = []
    while len(claimed) < 80:
        claimed += ids(claim(store, 7))
    for sender in senders:
        sender.join()
    assert sorted(claimed) == [*range(40), *range(1_000, 1_040)]
