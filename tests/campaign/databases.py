"""The databases that a campaign can be fought on, each in servers of its own, and what can be done to them."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from servers.disk import Disk, mountable
from servers.mariadb import MariaDB
from servers.postgres import Postgres
from servers.process import wait_until

#: What a server is connected to by at most: few, that they are soon taken.
CONNECTIONS = 20

#: What a database may not survive, whoever uses it, and is done only where it is named: on a full disk MariaDB's InnoDB
#: (10.11) loses rows that were committed, and says later that an index is corrupt.
UNSOUND = {"mariadb": {"full"}}

#: Whoever is told that there is none left, or that the server goes.
_REFUSALS = (psycopg.OperationalError, pymysql.OperationalError)

#: Megabytes of the disk that is filled.
_SIZES = {"sqlite": 32, "postgresql": 160, "mariadb": 256}


class Field:
    """A database.

    :param url: of an empty one.
    :param disk: that it lies on, where that can be filled.
    """

    def __init__(self, url: str, disk: Disk | None) -> None:
        self.url = url
        self._disk = disk

    @property
    def faults(self) -> set[str]:
        """Those that only some databases can have."""
        return {"full"} if self._disk else set()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Its disk is, while the context is open."""
        assert self._disk is not None
        self._disk.fill()
        try:
            yield
        finally:
            self._disk.free()


@dataclass(frozen=True, slots=True)
class _Tongue:
    """How a server speaks of connections.

    :param others: those to the same database.
    :param end: ends one.
    """

    others: str
    end: str


_TONGUES = {
    "postgresql": _Tongue(
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        "SELECT pg_terminate_backend(%s)",
    ),
    "mariadb": _Tongue(
        "SELECT id FROM information_schema.processlist"
        " WHERE db = database() AND id <> connection_id()",
        "KILL %s",
    ),
}


class ServerField(Field):
    """A database of a server, with everything that can befall one."""

    def __init__(
        self, server: Postgres | MariaDB, url: str, tongue: _Tongue, disk: Disk | None
    ) -> None:
        super().__init__(url, disk)
        self._server, self._tongue = server, tongue
        self._name = url.rpartition("/")[2]

    @property
    def faults(self) -> set[str]:
        return super().faults | {"restart", "cut", "exhaust"}

    def restart(self) -> None:
        """Kill -9 the server, and start it again."""
        self._server.kill()
        self._server.start()

    def cut(self, chance: random.Random) -> None:
        """End some connections, whatever they do."""
        with closing(self._connect(self._name)) as ours:
            others = self._others(ours)
            self._end(ours, [one for one in others if chance.random() < 0.5] or others[:1])

    @contextmanager
    def exhausted(self) -> Iterator[None]:
        """All connections that the server allows are taken, while the context is open."""
        with ExitStack() as taken:
            ours = taken.enter_context(closing(self._connect(self._name)))

            def ours_alone() -> bool:
                with suppress(*_REFUSALS):
                    while True:
                        taken.enter_context(closing(self._connect()))
                if others := self._others(ours):
                    self._end(ours, others)
                return not others

            wait_until(ours_alone, "server without a connection left")
            yield

    @contextmanager
    def full(self) -> Iterator[None]:
        with super().full():
            yield
        try:
            self._connect().close()
        except _REFUSALS:  # it has given up
            self.restart()
        if isinstance(self._server, MariaDB):
            self._mend(self._server)

    def _mend(self, server: MariaDB) -> None:
        """Make its indexes anew where they are corrupt, as an operator would."""
        with closing(server.connect(self._name)) as ours, closing(ours.cursor()) as cursor:
            for table in ("mail_letter", "mail_delivery", "mail_recipient"):
                cursor.execute(f"CHECK TABLE {table}")
                if any("corrupt" in said.lower() for *_, said in cursor.fetchall()):
                    print(f"{table} is mended", file=sys.stderr)
                    cursor.execute(f"ALTER TABLE {table} FORCE")

    def _connect(self, name: str | None = None) -> Any:
        if isinstance(self._server, MariaDB):
            return self._server.connect(name)
        return psycopg.connect(self._server.dsn(name or "postgres"), autocommit=True)

    def _others(self, ours: Any) -> list[int]:
        with closing(ours.cursor()) as cursor:
            cursor.execute(self._tongue.others)
            return sorted(id for (id,) in cursor.fetchall())

    def _end(self, ours: Any, which: Sequence[int]) -> None:
        with closing(ours.cursor()) as cursor:
            for one in which:
                with suppress(*_REFUSALS):  # it has gone by itself
                    cursor.execute(self._tongue.end, (one,))


@contextmanager
def field(name: str, folder: Path, *, fillable: bool) -> Iterator[Field]:
    """Start what ``sqlite``, ``postgresql`` or ``mariadb`` needs.

    :param fillable: whether its disk is to be filled, where one can be mounted.
    """
    with ExitStack() as running:
        disk = None
        if fillable and mountable():
            disk = running.enter_context(Disk(_SIZES[name]))
        where = disk.folder if disk else folder
        if name == "sqlite":
            yield Field(f"sqlite:///{where}/outbox.sqlite", disk)
            return
        server = running.enter_context(_server(name, where if disk else None))
        yield ServerField(server, server.database(), _TONGUES[name], disk)


def _server(name: str, where: Path | None) -> Postgres | MariaDB:
    if name == "postgresql":
        return Postgres(where, max_connections=CONNECTIONS, max_wal_size="64MB")
    return MariaDB(where, max_connections=CONNECTIONS)
