"""``mail.send_many`` and what can be done with stored messages."""

from __future__ import annotations

import sqlite3
import time
import weakref
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from flask_outbox import ConfigurationError, Connection, Mail, Message, MessageError, Receipt
from flask_outbox.ledger import tables
from flask_outbox.ledger.store import Store


def message(number: int, **fields: Any) -> Message:
    given = {"recipients": [f"user{number}@example.org"], "body": "Hi", **fields}
    return Message(f"Number {number}", **given)


def messages(count: int) -> Iterator[Message]:
    return map(message, range(count))


def store_of(app: Flask) -> Store:
    store: Store = app.extensions["flask_outbox"].wiring.store
    return store


def count(app: Flask, table: str) -> int:
    with store_of(app).database.snapshot() as connection:
        rows = select(func.count()).select_from(tables.metadata.tables[f"mail_{table}"])
        return int(connection.execute(rows).scalar_one())


def subjects(mail: Mail, ids: Iterator[str]) -> list[str]:
    views = [mail.get(id) for id in ids]
    return [view.subject for view in views if view is not None]


# -- a batch ---------------------------------------------------------------------------------------------------


def test_a_batch_knows_its_messages_in_their_order(mail: Mail) -> None:
    batch = mail.send_many(messages(3))
    assert batch.count == 3
    assert subjects(mail, batch.ids()) == ["Number 0", "Number 1", "Number 2"]


def test_messages_are_made_as_they_are_needed_and_let_go(mail: Mail) -> None:
    alive: weakref.WeakSet[Message] = weakref.WeakSet()
    most = 0

    def made() -> Iterator[Message]:
        nonlocal most
        for number in range(1_600):
            new = message(number)
            alive.add(new)
            most = max(most, len(alive))
            yield new

    assert mail.send_many(made()).count == 1_600
    assert most <= 502


def test_five_hundred_are_committed_at_a_time(mail: Mail, app: Flask) -> None:
    seen = []

    def made() -> Iterator[Message]:
        for number in range(1_001):
            if number % 500 in (1, 499):
                seen.append(count(app, "delivery"))
            yield message(number)

    mail.send_many(made())
    assert seen == [0, 0, 500, 500]
    assert count(app, "delivery") == 1_001


def test_large_messages_are_committed_sooner(mail: Mail, app: Flask) -> None:
    seen = []

    def made() -> Iterator[Message]:
        for number in range(3):
            seen.append(count(app, "delivery"))
            large = message(number)
            large.attach("a.bin", "application/pdf", bytes(3 * 2**20))
            yield large

    mail.send_many(made())
    assert seen == [0, 0, 2]


@pytest.mark.parametrize("atomic", [False, True])
def test_others_store_meanwhile(mail: Mail, app: Flask, atomic: bool) -> None:
    def made() -> Iterator[Message]:
        for number in range(700):
            if number in (300, 600):
                with closing(sqlite3.connect(f"{app.instance_path}/outbox.sqlite")) as other:
                    other.execute("PRAGMA busy_timeout = 0")
                    other.execute("BEGIN IMMEDIATE")
                mail.send(message(-1))
            yield message(number)

    mail.send(message(-1))
    assert mail.send_many(made(), atomic=atomic).count == 700
    assert count(app, "delivery") == 703


def test_the_keywords_are_those_of_every_message(mail: Mail) -> None:
    nine = datetime(2040, 1, 1, 9, tzinfo=timezone(timedelta(hours=2)))
    batch = mail.send_many(messages(2), at=nine, expires=nine + timedelta(days=1), priority="low")
    for id in batch.ids():
        view = mail.get(id)
        assert view is not None
        assert (view.state, view.priority) == ("scheduled", 2)
        assert view.due == datetime(2040, 1, 1, 7, tzinfo=UTC).timestamp()
        assert view.expires == view.due + 86_400


def test_the_own_step_of_a_message_is_heeded(mail: Mail) -> None:
    class Signed(Message):
        def send(self, connection: Connection) -> Receipt:
            self.body = f"{self.body}\n-- \nThe company"
            return super().send(connection)

    signed = Signed("Hello", recipients=["a@example.org"], body="Hi")
    (id,) = mail.send_many([signed]).ids()
    letter = mail.find_desk().reports().content(id)
    assert letter is not None
    assert "The company" in (letter.text or "")


@pytest.mark.parametrize("atomic", [False, True])
def test_each_message_is_told_of_once_it_is_stored(mail: Mail, atomic: bool) -> None:
    with mail.record_messages() as outbox:
        mail.send_many(messages(501), atomic=atomic)
    assert [sent.subject for sent in outbox] == [f"Number {n}" for n in range(501)]


@pytest.mark.parametrize("atomic", [False, True])
def test_suppressed_is_counted_and_leaves_no_file(mail: Mail, app: Flask, atomic: bool) -> None:
    app.config["TESTING"] = True
    with mail.record_messages() as outbox:
        batch = mail.send_many(messages(501), atomic=atomic)
    assert (batch.count, len(outbox), list(batch.ids())) == (501, 501, [])
    assert not Path(app.instance_path).exists()


def test_the_immediate_engine_sends_one_after_the_other(app: Flask) -> None:
    app.config.update(MAIL_ENGINE="immediate", MAIL_URL="null://")
    mail = Mail(app)
    with app.app_context():
        batch = mail.send_many(messages(3))
    assert (batch.count, list(batch.ids())) == (3, [])
    app.extensions["flask_outbox"].close()


def test_of_nothing_a_batch_is_empty(mail: Mail, app: Flask) -> None:
    assert mail.send_many([], atomic=True).count == 0
    assert not Path(app.instance_path).exists()


# -- what goes wrong -------------------------------------------------------------------------------------------


def test_a_wrong_message_is_named_with_what_was_taken_before(mail: Mail, app: Flask) -> None:
    def made() -> Iterator[Message]:
        yield from messages(600)
        yield message(600, cc=["no address"])

    with pytest.raises(MessageError, match=r"^message 600: ") as caught:
        mail.send_many(made())
    error = caught.value
    assert (error.index, error.field) == (600, "cc")
    assert error.batch is not None
    assert (error.batch.count, len(list(error.batch.ids()))) == (500, 500)
    assert count(app, "delivery") == 500


def test_what_the_iterable_raises_is_raised_with_a_note(mail: Mail) -> None:
    def made() -> Iterator[Message]:
        yield from messages(501)
        raise KeyError("broken")

    with pytest.raises(KeyError) as caught:
        mail.send_many(made())
    assert "500 messages of the batch" in caught.value.__notes__[0]


def test_a_key_of_another_message_is_named_by_its_index(mail: Mail) -> None:
    mail.send(message(9), key="n:501")
    with pytest.raises(MessageError, match=r"^message 501: key='n:501' belongs to") as caught:
        mail.send_many(messages(600), key=lambda one: "n:" + one.subject.split()[1])
    assert (caught.value.index, caught.value.field) == (501, "key")


def test_a_batch_that_is_sent_again_with_its_keys_is_sent_once(mail: Mail, app: Flask) -> None:
    first = mail.send_many(messages(2), key=lambda one: one.subject)
    again = mail.send_many(messages(3), key=lambda one: one.subject)
    assert (first.count, again.count) == (2, 3)
    assert subjects(mail, again.ids()) == ["Number 2"]
    assert count(app, "delivery") == 3


# -- all or nothing --------------------------------------------------------------------------------------------


def test_nothing_of_an_atomic_batch_can_be_claimed_before_the_last_is_stored(
    mail: Mail, app: Flask
) -> None:
    seen = []

    def made() -> Iterator[Message]:
        for number in range(1_001):
            if number in (501, 1_000):
                seen.append((count(app, "letter"), count(app, "delivery")))
            yield message(number)

    batch = mail.send_many(made(), atomic=True)
    assert seen == [(500, 0), (1_000, 0)]
    assert count(app, "delivery") == batch.count == len(list(batch.ids())) == 1_001
    assert store_of(app).claim("default", 1, 1, now=time.time(), lease=30)


@pytest.mark.parametrize("at", [10, 700])
@pytest.mark.parametrize("fault", [KeyboardInterrupt(), MessageError("wrong"), KeyError("broken")])
def test_an_atomic_batch_that_fails_leaves_nothing(
    mail: Mail, app: Flask, at: int, fault: BaseException
) -> None:
    mail.send(message(-1))

    def made() -> Iterator[Message]:
        yield from messages(at)
        raise fault

    with pytest.raises(type(fault)) as caught:
        mail.send_many(made(), atomic=True)
    assert "0 messages of the batch" in caught.value.__notes__[0]
    assert count(app, "letter") == count(app, "recipient") == count(app, "delivery") == 1
    assert count(app, "batch") == count(app, "batch_letter") == 0


def test_an_atomic_batch_is_not_for_an_engine_that_stores_nothing(app: Flask) -> None:
    app.config.update(MAIL_ENGINE="immediate", MAIL_URL="null://")
    mail = Mail(app)
    with app.app_context(), pytest.raises(ConfigurationError, match="atomic=True needs"):
        mail.send_many(messages(1), atomic=True)
    app.extensions["flask_outbox"].close()


def test_an_atomic_batch_has_no_keys(mail: Mail) -> None:
    with pytest.raises(MessageError, match="'key' cannot be given with atomic=True") as caught:
        mail.send_many(messages(1), atomic=True, key=lambda one: one.subject)
    assert caught.value.field == "key"


def test_an_atomic_batch_heeds_whom_it_must_not_reach(app: Flask) -> None:
    app.config["MAIL_ALLOWED_RECIPIENTS"] = "user1@example.org"
    mail = Mail(app)
    with app.app_context():
        batch = mail.send_many(messages(501), atomic=True)
        states = [view.state for id in batch.ids() if (view := mail.get(id))]
    assert (states.count("queued"), states.count("held")) == (1, 500)
    app.extensions["flask_outbox"].close()


# -- stored messages -------------------------------------------------------------------------------------------


def test_what_waits_can_be_cancelled_once(mail: Mail) -> None:
    id = mail.send(message(1)).id
    assert mail.cancel(id)
    assert not mail.cancel(id)
    assert [view.state for view in mail.messages()] == ["cancelled"]


def test_what_a_worker_has_claimed_is_not_cancelled(mail: Mail, app: Flask) -> None:
    id = mail.send(message(1)).id
    assert store_of(app).claim("default", 1, 1, now=time.time(), lease=30)
    assert not mail.cancel(id)


def test_a_cancelled_message_can_be_sent_after_all(mail: Mail) -> None:
    id = mail.send(message(1)).id
    assert not mail.retry(id)
    mail.cancel(id)
    assert mail.retry(id)
    assert [view.state for view in mail.messages()] == ["queued"]


def test_without_an_outbox_there_is_nothing_to_cancel(app: Flask) -> None:
    app.config.update(MAIL_ENGINE="immediate", MAIL_URL="null://")
    with app.app_context(), pytest.raises(ConfigurationError, match="nothing is stored"):
        Mail(app).cancel("0" * 32)
    app.extensions["flask_outbox"].close()


def test_messages_are_listed_by_tag_in_pages(mail: Mail) -> None:
    mail.send_many(message(n, tags=["news", "odd" if n % 2 else "even"]) for n in range(6))
    first = mail.messages(tag="odd", limit=2)
    rest = mail.messages(tag="odd", limit=2, before=first[-1].id)
    found = sorted(view.subject for view in (*first, *rest))
    assert found == ["Number 1", "Number 3", "Number 5"]
    assert len(mail.messages(tag="news", state="queued")) == 6
    assert mail.messages(tag="other") == []
