"""The databases that an outbox can live in, each server started once a run, as durable as it comes, and watched."""

from __future__ import annotations

import atexit
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from servers.mariadb import MariaDB
from servers.postgres import Postgres

from .disk import commit_seconds as file_commit_seconds
from .measure import medians, waiting
from .peers import here
from .services import DISK

#: Each with its name in the table, and what it needs.
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}
_NEEDS = {
    "sqlite": (),
    "postgresql": ("psycopg", "bin:initdb", "bin:postgres"),
    "mariadb": ("pymysql", "bin:mariadb-install-db", "bin:mariadbd"),
}

#: Those of this run.
chosen: Sequence[str] = tuple(NAMES)

#: As they come, where the tests have something that is faster.
_SETTINGS: dict[str, dict[str, object]] = {
    "postgresql": {"fsync": "on"},
    "mariadb": {
        "innodb_flush_log_at_trx_commit": 1,
        "innodb_buffer_pool_size": "128M",
        "innodb_log_file_size": "96M",
    },
}

#: That a commit waits for the disk, and that it does not.
_SYNCED = {
    "postgresql": (
        "ALTER SYSTEM SET synchronous_commit = {}; SELECT pg_reload_conf()",
        "on",
        "off",
    ),
    "mariadb": ("SET GLOBAL innodb_flush_log_at_trx_commit = {}", "1", "2"),
}

_numbers = itertools.count(1)


def missing(kind: str) -> bool:
    """Whether this database cannot be measured here."""
    return not here(*_NEEDS[kind])


@cache
def server(kind: str) -> Postgres | MariaDB:
    """The running server of that kind."""
    make: Callable[..., Postgres | MariaDB] = Postgres if kind == "postgresql" else MariaDB
    started = make(DISK, **_SETTINGS[kind])
    atexit.register(started.close)
    return started


@contextmanager
def database(kind: str, room: Path) -> Iterator[str]:
    """An empty database, gone at the end.

    :param room: for one that is a file.
    :returns: its URL.
    """
    if kind == "sqlite":
        yield f"sqlite:///{room}/outbox-{next(_numbers)}.sqlite"
        return
    url = server(kind).database()
    yield url
    forced = " WITH (FORCE)" if kind == "postgresql" else ""
    name = make_url(url).database
    run(url, f"DROP DATABASE {name}{forced}", beside="postgres" if kind == "postgresql" else "")


@contextmanager
def unsynced(kind: str) -> Iterator[None]:
    """Meanwhile no commit of a server waits for the disk: what it costs there shall not hide the rest."""
    if kind == "sqlite":
        yield
        return
    url = server(kind).database()
    statement, on, off = _SYNCED[kind]
    for value in (off, on):
        for one in statement.format(value).split("; "):
            run(url, one)
        if value == off:
            yield


def run(url: str, *statements: str, beside: str | None = None) -> None:
    """Run statements, each committed by itself.

    :param beside: the database to connect to, instead of that one.
    """
    place = make_url(url) if beside is None else make_url(url).set(database=beside or None)
    engine = create_engine(place, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def commit_seconds(kind: str, room: Path, commits: int) -> float:
    """Seconds of a transaction of one small row, synced."""
    if kind == "sqlite":
        return file_commit_seconds(room, commits)
    with database(kind, room) as url:
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            execute = connection.exec_driver_sql
            execute("CREATE TABLE one (value VARCHAR(10))")
            commit = "INSERT INTO one (value) VALUES ('x')"
            took = medians({"": waiting(lambda: execute(commit))}, commits)[""]
        engine.dispose()
    return took
