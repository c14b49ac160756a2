"""Full outboxes: letters stored one by one, or by the million."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Terms

from .with_flask_outbox import draft, sealed
from .written import Written, written

#: Letters stored in one transaction.
_BATCH = 500


def fill(outbox: Path, count: int, fields: dict[str, Any], terms: Terms | None = None) -> str:
    """Store that many letters as an application does, each sealed for itself.

    :returns: the id of the last one.
    """
    message = draft(fields)
    store = Store(f"sqlite:///{outbox}")
    stored: list[str] = []
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        stored = store.add([(sealed(message), terms or Terms()) for _ in range(size)], time.time())
    store.dispose()
    return stored[-1]


def multiply(outbox: Path, letter_id: str, count: int) -> None:
    """Store a letter's rows that many times more, under other ids and due before it, one a millisecond."""
    rows = written(outbox, letter_id)
    with closing(sqlite3.connect(outbox, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN EXCLUSIVE")
        for row in rows:
            connection.execute(*_copies(row, letter_id, count))
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")


def _copies(row: Written, letter_id: str, count: int) -> tuple[str, list[object]]:
    """The statement that copies a row, and its parameters."""
    prefix = letter_id[:24]
    new_id = f"printf('{prefix}%08x', i)"
    parameters: list[object] = [count]
    selected: list[str] = []
    for at, (column, value) in enumerate(zip(row.columns, row.values, strict=True)):
        if at == row.id_at:
            selected.append(new_id)
            continue
        parameters.append(value)
        if column == "due":
            selected.append(f"? - {count} + i")
        elif isinstance(value, bytes):  # the stored form
            selected.append(f"CAST(replace(CAST(? AS TEXT), '{letter_id}', {new_id}) AS BLOB)")
        elif isinstance(value, str) and letter_id in value:  # the Message-ID
            selected.append(f"replace(?, '{letter_id}', {new_id})")
        else:
            selected.append("?")
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
    return (
        f"INSERT INTO {row.table} ({', '.join(row.columns)}) {numbers} SELECT {', '.join(selected)} FROM n",
        parameters,
    )
