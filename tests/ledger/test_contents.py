"""An encrypted outbox: what it hides, and what becomes of letters whose key is missing."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from flask_outbox.errors import MessageError, OutboxError
from flask_outbox.ledger.rekey import Rekeyed, Rekeying
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.retention import Swept
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Letter, Part, Terms
from flask_outbox.rules.retention import DAY, EVER, Retention
from flask_outbox.rules.states import State
from ledger.conftest import ACCEPTED, NOW, claim, ids, letter, put, result, stored

OLD, NEW, OTHER = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32

SECRET = b"the code is 123456"


def secret_letter(number: int, *files: bytes) -> Letter:
    one = letter(number, attached=files)
    return replace(one, text=SECRET.decode(), html=f"<p>{SECRET.decode()}</p>")


@pytest.fixture
def opened(store: Store) -> Iterator[Callable[..., Store]]:
    """The same outbox, by a process that has those keys."""
    all_: list[Store] = []

    def opened(*keys: bytes) -> Store:
        all_.append(Store(store.database.url.render_as_string(hide_password=False), keys=keys))
        return all_[-1]

    yield opened
    for one in all_:
        one.dispose()


def everything(store: Store) -> bytes:
    """All that the tables hold of contents and attachments."""
    with store.database.snapshot() as connection:
        found = [
            bytes(value)
            for column in ("content FROM mail_letter", "data FROM mail_blob")
            for (value,) in connection.exec_driver_sql(f"SELECT {column}")
        ]
        keys = connection.exec_driver_sql("SELECT digest FROM mail_key").scalars()
        return b"\n".join([*found, *(key.encode() for key in keys)])


def blob_names(store: Store) -> list[str]:
    with store.database.snapshot() as connection:
        return list(connection.exec_driver_sql("SELECT digest FROM mail_blob").scalars())


# -- what is hidden --------------------------------------------------------------------------------------------


def test_text_and_attachments_are_not_in_the_tables(opened: Callable[..., Store]) -> None:
    store = opened(OLD)
    store.add([(secret_letter(1, SECRET * 100), Terms(key="k"))], NOW)
    assert b"123456" not in everything(store)


@pytest.mark.only("sqlite")
def test_nothing_of_the_text_is_in_the_file(opened: Callable[..., Store]) -> None:
    store = opened(OLD)
    store.add([(secret_letter(1, SECRET * 100), Terms(key="k"))], NOW)
    store.dispose()
    assert store.path is not None
    connection = sqlite3.connect(store.path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert SECRET not in store.path.read_bytes()


def test_a_claim_gets_the_letter_as_it_was(opened: Callable[..., Store]) -> None:
    store, one = opened(OLD), secret_letter(1, b"x" * 5_000, b"y")
    store.add([(one, Terms())], NOW)
    assert [found.letter for found in claim(opened(OLD))] == [one]


def test_a_message_that_is_stored_raw_too(opened: Callable[..., Store]) -> None:
    store, one = opened(OLD), replace(letter(1), text=None, raw=SECRET * 50)
    store.add([(one, Terms())], NOW)
    assert b"123456" not in everything(store)
    assert [found.letter for found in claim(store)] == [one]


def test_an_attachment_is_stored_once_whatever_the_key(opened: Callable[..., Store]) -> None:
    opened(OLD).add([(secret_letter(1, SECRET), Terms())], NOW)
    opened(NEW, OLD).add([(secret_letter(2, SECRET), Terms())], NOW)
    assert len(blob_names(opened(OLD))) == 1


def test_processes_that_start_at_once_agree_on_the_names(opened: Callable[..., Store]) -> None:
    with ThreadPoolExecutor(4) as pool:
        vaults = list(pool.map(lambda _: opened(OLD).contents.vault(), range(4)))
    assert len({vault.name("digest") for vault in vaults if vault}) == 1


def test_the_name_of_an_attachment_tells_nobody_what_it_is(opened: Callable[..., Store]) -> None:
    store = opened(OLD)
    store.add([(secret_letter(1, SECRET), Terms())], NOW)
    assert Part("", "", SECRET).digest not in blob_names(store)


def test_a_key_of_a_send_is_recognised_and_another_content_refused(
    opened: Callable[..., Store],
) -> None:
    store = opened(OLD)
    store.add([(secret_letter(1), Terms(key="k"))], NOW)
    again = replace(secret_letter(1), id="2" * 32)
    assert store.add([(again, Terms(key="k"))], NOW) == [letter(1).id]
    with pytest.raises(MessageError, match="another message"):
        store.add([(letter(3), Terms(key="k"))], NOW)


def test_a_key_from_before_the_encryption_is_recognised(
    store: Store, opened: Callable[..., Store]
) -> None:
    store.add([(secret_letter(1), Terms(key="k"))], NOW)
    again = replace(secret_letter(1), id="2" * 32)
    assert opened(OLD).add([(again, Terms(key="k"))], NOW) == [letter(1).id]


def test_what_was_stored_before_the_encryption_is_read(
    store: Store, opened: Callable[..., Store]
) -> None:
    one, two = secret_letter(1, SECRET), secret_letter(2, SECRET)
    store.add([(one, Terms())], NOW)
    keyed = opened(OLD)
    keyed.add([(two, Terms())], NOW)
    assert [found.letter for found in claim(keyed)] == [one, two]


def test_a_collector_takes_encrypted_attachments_like_others(opened: Callable[..., Store]) -> None:
    store = opened(OLD)
    store.add([(secret_letter(1, SECRET), Terms())], NOW)
    store.finish([result(one, ACCEPTED) for one in claim(store)], NOW)
    steps = store.sweeps.whole(Retention({State.SENT: 0.0}, {}, EVER), NOW + DAY)
    assert sum(step.messages for step in steps) == 1
    assert blob_names(store) == []
    assert Swept()


# -- without the key -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [(), (OTHER,)], ids=["none", "another"])
def test_without_its_key_a_letter_is_held_and_the_others_go(
    opened: Callable[..., Store],
    store: Store,
    keys: tuple[bytes, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    store.add([(letter(2), Terms())], NOW)
    opened(OLD).add([(secret_letter(1, SECRET), Terms())], NOW)
    with caplog.at_level(logging.ERROR, "flask_outbox"):
        assert ids(claim(opened(*keys))) == [2]
    assert (stored(store, 1).state, stored(store, 1).reason) == ("held", "no key")
    assert "MAIL_OUTBOX_KEY" in caplog.text
    assert not any(key.hex() in caplog.text or repr(key) in caplog.text for key in (OLD, OTHER))


def test_it_goes_when_a_worker_starts_that_has_the_key(opened: Callable[..., Store]) -> None:
    one = secret_letter(1, SECRET)
    opened(OLD).add([(one, Terms())], NOW)
    claim(opened(OTHER))
    back = opened(NEW, OLD)
    assert (back.release_unread(NOW + 1), back.release_unread(NOW + 1)) == (1, 0)
    assert [found.letter for found in claim(back, now=NOW + 1)] == [one]


def test_what_a_person_holds_stays_held_when_a_key_comes(opened: Callable[..., Store]) -> None:
    store = opened(OLD)
    put(store, 1, terms=Terms(hold="not yet"))
    assert store.release_unread(NOW) == 0


def test_nothing_is_sent_into_an_outbox_of_other_keys(opened: Callable[..., Store]) -> None:
    """It would be read by nobody else, and its attachments stored twice."""
    opened(OLD).add([(letter(1), Terms())], NOW)
    with pytest.raises(OutboxError, match="add the one that was used before"):
        opened(OTHER).add([(letter(2), Terms())], NOW)


def test_a_content_that_cannot_be_read_is_an_error_for_whoever_asks(
    opened: Callable[..., Store],
) -> None:
    opened(OLD).add([(secret_letter(1), Terms())], NOW)
    with pytest.raises(OutboxError, match="MAIL_OUTBOX_KEY is not set"):
        Reports(opened()).content(letter(1).id)


# -- another key -----------------------------------------------------------------------------------------------


def rekey(store: Store) -> Rekeyed:
    steps = [Rekeyed(), *Rekeying(store).run(NOW + 2 * DAY)]
    return Rekeyed(*map(sum, zip(*steps, strict=True)))


def test_after_a_rekey_the_old_key_is_not_needed(opened: Callable[..., Store]) -> None:
    letters = [secret_letter(number, b"%d" % number, SECRET) for number in range(5)]
    opened(OLD).add([(one, Terms(key=one.subject)) for one in letters], NOW)
    assert rekey(opened(NEW, OLD)) == Rekeyed(seen=11, contents=5, attachments=6)
    new = opened(NEW)
    assert [found.letter for found in claim(new)] == letters
    again = replace(letters[0], id="9" * 32)
    assert new.add([(again, Terms(key=again.subject))], NOW) == [letters[0].id]


def test_a_rekey_encrypts_what_was_readable(store: Store, opened: Callable[..., Store]) -> None:
    one, two = secret_letter(1, SECRET), secret_letter(2, SECRET, b"more")
    store.add([(one, Terms())], NOW)
    keyed = opened(NEW)
    keyed.add([(two, Terms())], NOW)
    assert rekey(keyed) == Rekeyed(seen=5, contents=1, attachments=1)
    assert b"123456" not in everything(keyed)
    assert [found.letter for found in claim(keyed)] == [one, two]


def test_a_second_rekey_has_nothing_to_do(opened: Callable[..., Store]) -> None:
    opened(OLD).add([(secret_letter(1, SECRET), Terms())], NOW)
    rekey(opened(NEW, OLD))
    assert rekey(opened(NEW)) == Rekeyed(seen=2)


def test_a_rekey_in_the_middle_leaves_all_readable(opened: Callable[..., Store]) -> None:
    letters = [secret_letter(number, b"%d" % number) for number in range(6)]
    opened(OLD).add([(one, Terms()) for one in letters], NOW)
    both = opened(NEW, OLD)
    for number, _ in enumerate(Rekeying(both).run(NOW)):
        found = Reports(opened(NEW, OLD)).content(letter(number % 6).id)
        assert found == letters[number % 6]


def test_a_readable_attachment_that_a_send_has_just_found_stays_for_it(
    store: Store, opened: Callable[..., Store]
) -> None:
    now = NOW + 2 * DAY
    store.add([(secret_letter(1, SECRET), Terms())], now - 60)
    rekey(opened(NEW))
    store.add([(secret_letter(2, SECRET), Terms())], now)
    assert Reports(store).content(letter(2).id) == secret_letter(2, SECRET)


def test_a_rekey_counts_what_no_key_reads_and_leaves_it(opened: Callable[..., Store]) -> None:
    opened(OLD).add([(secret_letter(1), Terms())], NOW)
    rekeying = opened(NEW, OLD)
    rekey(rekeying)
    with rekeying.database.transaction() as connection:
        connection.exec_driver_sql(
            "UPDATE mail_letter SET content = ?"
            if rekeying.path
            else "UPDATE mail_letter SET content = %s",
            (b"1:AXNvbWV0aGluZyBlbHNlIGVudGlyZWx5LCBhbmQgbG9uZyBlbm91Z2g=",),
        )
    assert rekey(rekeying) == Rekeyed(seen=1, unread=1)


def test_a_content_that_goes_meanwhile_stays_away(opened: Callable[..., Store]) -> None:
    store = opened(OLD)
    store.add([(secret_letter(1), Terms())], NOW)
    store.finish([result(one, ACCEPTED) for one in claim(store)], NOW)
    steps = Rekeying(both := opened(NEW, OLD)).run(NOW)
    next(steps)
    list(store.sweeps.whole(Retention({}, {State.SENT: 0.0}, EVER), NOW))
    list(steps)
    assert Reports(both).content(letter(1).id) is None


# -- what it costs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [(), (OLD,)], ids=["off", "on"])
def test_a_send_has_no_statement_more(
    store: Store, opened: Callable[..., Store], traced: Callable[[], list[str]], keys: tuple[bytes]
) -> None:
    store.add([(letter(1), Terms())], NOW)
    plain = traced()
    store.contents = opened(*keys).contents
    store.contents.vault()
    before = len(traced())
    store.add([(letter(2), Terms())], NOW)
    assert traced()[before:] == plain
