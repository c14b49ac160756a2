"""Full outboxes: letters stored one by one, or by the million."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Table
from sqlalchemy.engine import make_url

from flask_outbox.ledger.store import Store
from flask_outbox.ledger.tables import delivery, letter, metadata
from flask_outbox.mail.letter import Terms

from .databases import run
from .with_flask_outbox import draft, sealed

#: Letters stored in one transaction.
_BATCH = 500


class _Words(NamedTuple):
    """What a database calls it.

    :param numbers: a table of the numbers 1 to ``{count}``, in the column ``i``.
    :param id: the id that begins with ``{prefix}`` and ends with ``i``, as eight hexadecimal digits.
    :param content: a column of bytes with another id in it.
    :param before: and ``after``: run around it all, for speed.
    """

    numbers: str
    id: str
    content: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


_WORDS = {
    "sqlite": _Words(
        "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n)",
        "printf('{prefix}%08x', i)",
        "CAST(replace(CAST(content AS TEXT), '{id}', {new}) AS BLOB)",
        ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF"),
        ("PRAGMA journal_mode = WAL",),
    ),
    "postgresql": _Words(
        "generate_series(1, {count}) AS n(i)",
        "'{prefix}' || lpad(to_hex(i), 8, '0')",
        "convert_to(replace(convert_from(content, 'UTF8'), '{id}', {new}), 'UTF8')",
    ),
    "mysql": _Words(
        "(SELECT seq AS i FROM seq_1_to_{count}) AS n",
        "concat('{prefix}', lpad(lower(hex(i)), 8, '0'))",
        "CAST(replace(CONVERT(content USING utf8mb4), '{id}', {new}) AS BINARY)",
    ),
}


def fill(url: str, count: int, fields: dict[str, Any], terms: Terms | None = None) -> str:
    """Store that many letters as an application does, each sealed for itself; the tables are made.

    :returns: the id of the last one.
    """
    message = draft(fields)
    store = Store(url)
    store.create_schema()
    stored: list[str] = []
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        stored = store.add([(sealed(message), terms or Terms()) for _ in range(size)], time.time())
    store.dispose()
    return stored[-1]


def multiply(url: str, letter_id: str, count: int) -> None:
    """Store a letter's rows that many times more, under other ids and due before it, one a millisecond."""
    words = _WORDS[make_url(url).get_backend_name()]
    run(url, *words.before, *_copies(words, letter_id, count), *words.after)


def _copies(words: _Words, letter_id: str, count: int) -> Iterator[str]:
    """The statements that copy what belongs to a letter."""
    new = words.id.format(prefix=letter_id[:24])
    other = {
        "due": f"due - {count} + i",
        "message_id": f"replace(message_id, '{letter_id}', {new})",
        "content": words.content.format(id=letter_id, new=new),
    }
    for table in metadata.sorted_tables:
        own = "id" if table is letter else "letter_id"
        if own not in table.c:
            continue
        columns = _columns(table, own)
        selected = [new if name == own else other.get(name, name) for name in columns]
        yield (
            f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {', '.join(selected)}"
            f" FROM {table.name}, {words.numbers.format(count=count)} WHERE {own} = '{letter_id}'"
        )


def _columns(table: Table, own: str) -> list[str]:
    """Those that are not numbered or computed by the database."""
    return [
        column.name
        for column in table.c
        if not column.system and (column.name == own or column.name != "id")
    ]


def end(url: str) -> None:
    """Let everything have been claimed and sent, as workers do: two changes a delivery."""
    claimed = f"UPDATE {delivery.name} SET state = 'sending', due = due + 30000, lease_token = id"
    finished = (
        f"UPDATE {delivery.name} SET state = 'sent', finished = due, due = due - 29000, attempts = 1,"
        " lease_token = NULL"
    )
    run(url, claimed, finished)


def never_vacuum(url: str) -> None:
    """Keep PostgreSQL from clearing away what is left of deliveries as they were before."""
    run(url, f"ALTER TABLE {delivery.name} SET (autovacuum_enabled = off)")


def settle(url: str, *, vacuum: bool = True) -> None:
    """Let the database know what its tables have become, as it finds out by itself after a while.

    PostgreSQL's autovacuum and MariaDB's statistics do, an SQLite file has none and needs none.

    :param vacuum: if not, PostgreSQL learns how many rows there are, and clears none away.
    """
    found = {
        "postgresql": "VACUUM ANALYZE" if vacuum else "ANALYZE",
        "mysql": "ANALYZE TABLE",
    }
    if statement := found.get(make_url(url).get_backend_name()):
        run(url, *[f"{statement} {table.name}" for table in metadata.sorted_tables])
