"""A MariaDB that takes smaller statements than some letters need (``max_allowed_packet``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from flask_outbox.errors import OutboxError
from flask_outbox.ledger.packets import enough_for, statement
from flask_outbox.ledger.store import Store
from flask_outbox.ledger.tables import metadata
from flask_outbox.mail.letter import Terms
from ledger.conftest import ACCEPTED, NOW, claim, letter, result, stored
from servers.mariadb import MariaDB

MB = 2**20

mariadb_only = pytest.mark.only("mysql+pymysql")


@contextmanager
def taking(mariadb: MariaDB, size: int) -> Iterator[None]:
    """Let it take statements of that size, on connections that are made from now on."""
    with mariadb.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT @@global.max_allowed_packet")
        row = cursor.fetchone()
        assert row is not None
        cursor.execute("SET GLOBAL max_allowed_packet = %s", (size,))
        try:
            yield
        finally:
            cursor.execute("SET GLOBAL max_allowed_packet = %s", (row[0],))


@pytest.fixture
def small(mariadb: MariaDB, store: Store) -> Iterator[Store]:
    """The outbox on a server that takes statements of 1 MB."""
    with taking(mariadb, MB):
        yield store
        store.dispose()


def rows(store: Store) -> int:
    """How many there are, in all tables."""
    with store.database.snapshot() as connection:
        counts = [
            connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
            for name in metadata.tables
            if name not in ("mail_schema", "mail_secret")
        ]
    return int(sum(counts))


LARGE = {
    "an attachment": letter(1, attached=[b"x" * MB]),
    "half an attachment": letter(1, attached=[b"\0" * 600_000]),
    "a text": replace(letter(1), text="words\n" * 200_000),
}


@mariadb_only
@pytest.mark.parametrize("what", LARGE)
def test_a_letter_that_is_too_large_is_refused_with_the_cure(small: Store, what: str) -> None:
    batch = [(letter(7), Terms(key="k")), (LARGE[what], Terms())]
    with pytest.raises(OutboxError, match=r"'max_allowed_packet' to 64M or more, or MAIL_MAX_SIZE"):
        small.add(batch, NOW)
    assert rows(small) == 0
    small.add([(letter(7), Terms(key="k"))], NOW)  # over the same connection
    assert stored(small, 7).state == "queued"


@mariadb_only
def test_what_is_as_large_as_allowed_is_stored(small: Store) -> None:
    largest = b"x" * (MB // 2 - 600)
    small.add([(letter(1, attached=[largest]), Terms())], NOW)
    (one,) = claim(small)
    assert one.letter.attachments[0].data == largest


@mariadb_only
def test_what_was_stored_before_is_sent(mariadb: MariaDB, store: Store) -> None:
    """A server reads more than it takes."""
    data = bytes(range(256)) * 12_000
    store.add([(letter(1, attached=[data]), Terms())], NOW)
    store.dispose()
    with taking(mariadb, MB):
        (one,) = claim(store)
        assert one.letter.attachments[0].data == data
        store.finish([result(one, ACCEPTED)], NOW)
        assert stored(store, 1).state == "sent"
        store.dispose()


@mariadb_only
def test_no_driver_writes_a_longer_statement_than_is_thought(mariadb: MariaDB) -> None:
    data = bytes(range(256)) + b"\0'\\" * 10_000
    with mariadb.connect() as connection:
        assert len(connection.cursor().mogrify("%s", (data,))) <= statement(len(data))


def test_what_to_set_lets_any_byte_be_escaped() -> None:
    assert [enough_for(size) for size in (1, 25_000_000, 40_000_000, 70 * MB)] == [
        "64M",
        "64M",
        "128M",
        "256M",
    ]
