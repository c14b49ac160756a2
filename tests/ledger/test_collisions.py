"""Transactions of ours that wait for each other: the one that the database ends is run again."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from flask_outbox.errors import OutboxError
from flask_outbox.ledger import collisions
from flask_outbox.ledger.collisions import TRIES, repeated
from flask_outbox.ledger.store import Store
from ledger.conftest import letter, put

pytestmark = pytest.mark.only("postgresql+psycopg", "postgresql+psycopg2", "mysql+pymysql")


class Crossing:
    """Changes two letters, one after the other."""

    def __init__(self, store: Store, both: threading.Barrier) -> None:
        self.store = store
        self.both = both
        self.tries = 0

    @repeated
    def change(self, *numbers: int) -> None:
        self.tries += 1
        with self.store.database.direct() as line:
            for number in numbers:
                line.exec_driver_sql(
                    "UPDATE mail_letter SET size = size + 1 WHERE id = %s", (letter(number).id,)
                )
                if self.tries == 1 and number == numbers[0]:
                    self.both.wait(20)


def test_two_that_wait_for_each_other_both_come_through(store: Store) -> None:
    put(store, 1, 2)
    both = threading.Barrier(2)
    one, other = Crossing(store, both), Crossing(store, both)
    threads = [
        threading.Thread(target=one.change, args=(1, 2)),
        threading.Thread(target=other.change, args=(2, 1)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.database.snapshot() as connection:
        sizes = connection.exec_driver_sql("SELECT size FROM mail_letter").scalars().all()
    assert list(sizes) == [letter(1).size + 2, letter(2).size + 2]
    # More than one may have to: who is ended first may have locked again before the other one wakes.
    assert one.tries + other.tries > 2
    assert max(one.tries, other.tries) <= TRIES


class Doomed:
    """Fails in the same way however often it is run."""

    def __init__(self, store: Store, statement: str) -> None:
        self.store = store
        self.statement = statement
        self.tries = 0

    @repeated
    def change(self) -> None:
        self.tries += 1
        with self.store.database.direct() as line:
            line.exec_driver_sql(self.statement)


def deadlock(store: Store) -> str:
    """A statement that fails as one does that the database ends for another's sake."""
    if store.database.url.get_backend_name() == "mysql":
        return "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'Deadlock found'"
    return "DO $$ BEGIN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END $$"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made between the runs."""
    pauses: list[float] = []
    monkeypatch.setattr(collisions, "time", SimpleNamespace(sleep=pauses.append))
    return pauses


def test_what_collides_again_and_again_is_an_outbox_error(
    store: Store, pauses: list[float]
) -> None:
    doomed = Doomed(store, deadlock(store))
    with pytest.raises(OutboxError, match=r"(?i)deadlock"):
        doomed.change()
    assert doomed.tries == TRIES
    assert len(pauses) == TRIES - 1


def test_it_waits_longer_each_time_and_no_two_wait_as_long(
    store: Store, pauses: list[float]
) -> None:
    for doomed in (Doomed(store, deadlock(store)), Doomed(store, deadlock(store))):
        with pytest.raises(OutboxError):
            doomed.change()
    one, other = pauses[: TRIES - 1], pauses[TRIES - 1 :]
    assert one == sorted(one)
    assert other == sorted(other)
    assert len({*one, *other}) == len(pauses)
    assert sum(one) < 1


def test_any_other_refusal_is_not_tried_again(store: Store, pauses: list[float]) -> None:
    doomed = Doomed(store, "SELECT nothing FROM nowhere")
    with pytest.raises(OutboxError, match="nowhere"):
        doomed.change()
    assert doomed.tries == 1
    assert pauses == []
