"""What one send writes into the outbox's file, written again by the bare driver under other ids."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Written:
    """One row that belongs to a letter.

    :param id_at: where the letter's id stands among the values.
    """

    table: str
    columns: tuple[str, ...]
    values: tuple[object, ...]
    id_at: int

    @property
    def insert(self) -> str:
        marks = ", ".join("?" * len(self.columns))
        return f"INSERT INTO {self.table} ({', '.join(self.columns)}) VALUES ({marks})"

    def under(self, letter_id: str) -> tuple[object, ...]:
        """The values with another letter's id."""
        return (*self.values[: self.id_at], letter_id, *self.values[self.id_at + 1 :])


def written(outbox: Path, letter_id: str) -> list[Written]:
    """The rows of one letter, of whatever tables; the numbers that SQLite gives by itself are left out."""
    with closing(sqlite3.connect(outbox)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = [name for (name,) in names if name.startswith("mail_")]
        return [row for table in tables for row in _rows(connection, table, letter_id)]


def copied(outbox: Path, copy: Path) -> sqlite3.Connection:
    """The outbox in another file, opened by the bare driver as durably as ours is."""
    with closing(sqlite3.connect(outbox)) as source:
        connection = sqlite3.connect(copy, isolation_level=None)
        source.backup(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _rows(connection: sqlite3.Connection, table: str, letter_id: str) -> list[Written]:
    # Where "id" is not the letter's, SQLite numbers the rows.
    own = "id" if table == "mail_letter" else "letter_id"
    described = connection.execute(f"PRAGMA table_info({table})")
    columns = tuple(name for _, name, *_ in described if name == own or name != "id")
    if own not in columns:
        return []
    found = connection.execute(
        f"SELECT {', '.join(columns)} FROM {table} WHERE {own} = ?", (letter_id,)
    )
    return [Written(table, columns, values, columns.index(own)) for values in found]
