"""What the disk under the outbox costs: the floor of everything durable."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from .measure import medians, waiting


def commit_seconds(room: Path, commits: int) -> float:
    """Seconds of a transaction of one small row, synced."""
    with closing(sqlite3.connect(room / "commit.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, value TEXT)")
        commit = "INSERT INTO row (value) VALUES ('x')"
        return medians({"": waiting(lambda: connection.execute(commit))}, commits)[""]
