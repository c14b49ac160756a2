"""Copies of an outbox that lives in a server: what a dump of its database holds, and what a restored one does.

A dump is one transaction that reads everything, as that of ``pg_dump`` and ``mariadb-dump --single-transaction``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import func, insert, select

from flask_outbox.ledger.store import Store
from flask_outbox.ledger.tables import metadata
from flask_outbox.mail.letter import Terms
from ledger.conftest import ACCEPTED, NOW, claim, ids, letter, put, result
from servers.mariadb import MariaDB
from servers.postgres import Postgres

pytestmark = pytest.mark.only("postgresql+psycopg", "mysql+pymysql")


@pytest.fixture
def copy(store: Store, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Another database of the server, with nothing in it."""
    url = store.database.url
    mysql = url.get_backend_name() == "mysql"
    server: Postgres | MariaDB = request.getfixturevalue("mariadb" if mysql else "postgres")
    copy = Store(server.database())
    copy.create_schema()
    yield copy
    copy.dispose()


def dump(store: Store, copy: Store) -> None:
    """Read it all in one transaction, and write it down at the other place."""
    with store.database.snapshot() as reading:
        found = {
            table: reading.execute(
                select(*[column for column in table.c if column.name != "live"])  # MySQL makes it
            )
            .mappings()
            .all()
            for table in metadata.sorted_tables
        }
    with copy.database.transaction() as writing:
        for table, rows in found.items():
            writing.execute(table.delete())
            if rows:
                writing.execute(insert(table), [dict(row) for row in rows])
            if table.autoincrement_column is not None and writing.dialect.name == "postgresql":
                # Its dump says where the numbers go on; with the others that is behind the last one.
                sequence = func.pg_get_serial_sequence(table.name, "id")
                last = select(func.max(table.c.id)).scalar_subquery()
                writing.execute(select(func.setval(sequence, func.coalesce(last, 1))))


def test_a_dump_while_mail_is_sent_is_whole(store: Store, copy: Store) -> None:
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
    try:
        assert begun.wait(20)
        dump(store, copy)
    finally:
        over.set()
        sending.join()
    found = claim(copy, 10_000)
    assert len(found) >= 20
    for one in found:
        number = int(one.letter.id, 16)
        assert one.letter == letter(number, attached=[b"%d" % number * 900])
        assert one.to == one.letter.envelope_to


def test_a_restored_dump_sends_again_what_was_to_be_sent_then_and_takes_new_mail(
    store: Store, copy: Store
) -> None:
    put(store, 1)
    store.finish([result(one, ACCEPTED) for one in claim(store)], NOW)
    put(store, 2)
    dump(store, copy)
    sent = claim(store)
    store.finish([result(one, ACCEPTED) for one in sent], NOW)
    assert [one.letter for one in claim(copy)] == [one.letter for one in sent] == [letter(2)]
    put(copy, 3)
    assert ids(claim(copy)) == [3]
