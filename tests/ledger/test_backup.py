"""Copies of an outbox: what a backup holds, and what a restored one does."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flask_outbox.errors import OutboxFileError
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.store import EVERY, Store
from flask_outbox.mail.letter import Terms
from ledger.conftest import ACCEPTED, NOW, claim, ids, letter, put, result

pytestmark = pytest.mark.only("sqlite")


def path_of(store: Store) -> Path:
    assert store.path is not None
    return store.path


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Store]:
    """An outbox at another place, made from the first one by :func:`back_up`."""
    store = Store(f"sqlite:///{tmp_path}/copy/outbox.sqlite")
    path_of(store).parent.mkdir()
    yield store
    store.dispose()


def back_up(store: Store, copy: Store, *, pages: int = -1) -> None:
    """As ``sqlite3 outbox.sqlite ".backup copy.sqlite"`` does it."""
    with (
        closing(sqlite3.connect(path_of(store))) as source,
        closing(sqlite3.connect(path_of(copy))) as target,
    ):
        source.backup(target, pages=pages)


def test_a_backup_while_mail_is_sent_is_whole(store: Store, copy: Store) -> None:
    begun, over = threading.Event(), threading.Event()

    def send() -> None:
        number = 0
        while not over.is_set() or number < 20:
            store.add([(letter(number, attached=[b"%d" % number * 900]), Terms())], NOW)
            number += 1
            if number == 20:
                begun.set()

    sending = threading.Thread(target=send)
    sending.start()
    begun.wait(10)
    back_up(store, copy)
    over.set()
    sending.join()
    found = claim(copy, 10_000)
    assert len(found) >= 20
    for one in found:
        number = int(one.letter.id, 16)
        assert one.letter == letter(number, attached=[b"%d" % number * 900])
        assert one.to == one.letter.envelope_to


def test_the_file_without_its_log_lacks_what_was_stored_last(store: Store, copy: Store) -> None:
    put(store, 1)
    shutil.copy(path_of(store), path_of(copy))
    assert claim(copy) == []


def test_a_restored_backup_sends_again_what_was_to_be_sent_then(store: Store, copy: Store) -> None:
    put(store, 1)
    store.finish([result(one, ACCEPTED) for one in claim(store)], NOW)
    put(store, 2)
    back_up(store, copy)
    sent = claim(store)
    store.finish([result(one, ACCEPTED) for one in sent], NOW)
    put(store, 3)
    assert [one.letter for one in claim(copy)] == [one.letter for one in sent] == [letter(2)]


def test_a_restored_backup_that_is_paused_sends_nothing(store: Store, copy: Store) -> None:
    put(store, 1)
    back_up(store, copy)
    copy.pause(EVERY, "restored", by="person")
    assert all(lane.paused for lane in copy.agenda(NOW))
    assert ids(claim(store)) == [1]


def test_a_file_that_is_replaced_while_in_use_is_refused(store: Store, copy: Store) -> None:
    put(store, 1)
    back_up(store, copy)
    path_of(copy).replace(path_of(store))
    with pytest.raises(OutboxFileError, match="restart all processes"):
        Reports(store).get(letter(1).id)
