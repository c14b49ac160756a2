"""The outbox's own connections: opened at first use, one transaction at a time, never across a fork.

SQLite is driven in autocommit mode and each transaction begun here: writers with BEGIN IMMEDIATE, so that two of
them queue for the lock instead of failing when the second one upgrades. Two pools differ in one setting: a letter
is stored with ``synchronous=FULL``, so that it survives a power cut; a worker's results with NORMAL, for losing the
last of them only repeats a mail.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from weakref import WeakSet, finalize

from sqlalchemy import (
    URL,
    Connection,
    Engine,
)
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import PoolProxiedConnection

from ..errors import OutboxFileError
from . import tables
from .backends import check_server, database_url, driver_error, time_of
from .clock import Clock
from .driver import Direct
from .file import FileLock, prepare
from .opened import BUSY, COMMITTED, MOST, PATIENCE, Opened, Use, is_sqlite
from .refusals import all_in_use, explain
from .schema import bring_up, check_version, script, version_of

#: The drivers of PostgreSQL by which a descriptor can be watched for news.
_TELLING = ("psycopg", "psycopg2")


class Database:
    """The database that an outbox lives in. Making one opens nothing.

    :param url: SQLAlchemy's, ``sqlite:////absolute/path`` or a server database.
    :raises ConfigurationError: no outbox can live there.
    """

    def __init__(self, url: str) -> None:
        self._url = database_url(url)
        self._error = driver_error(self._url)
        #: The SQLite file, or None for a server database.
        self.path: Path | None = None
        #: What moments are told by.
        self.clock: Clock = Clock()
        if is_sqlite(self._url):
            self.path = Path(self._url.database or "").absolute()
            self._url = self._url.set(database=str(self.path))
        #: The version that the tables had when they were made or brought to this one.
        self._found: int | None = None
        #: Closes what is open when this object is collected, as the applications of tests are.
        self._closing: finalize[[], Database] | None = None
        self._forget()
        _databases.add(self)

    @property
    def url(self) -> URL:
        """By which it is opened."""
        return self._url

    @property
    def name(self) -> str:
        """The file or database, without what may be secret."""
        bare = self._url.set(query={})
        return str(self.path or bare.render_as_string(hide_password=True))

    def _forget(self) -> None:
        self._lock = threading.Lock()
        #: Whether this process was forked from one that had the file open.
        self._torn = False
        self._engines: Opened | None = None
        self._let_go()

    def _let_go(self) -> None:
        self._engines = None
        if self._closing is not None:
            self._closing.detach()

    def _tear(self) -> None:
        """Leave to the parent what a fork has inherited."""
        engines = self._engines
        self._forget()
        if engines is not None:
            _inherited.append(engines)
            self._torn = self.path is not None

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[Connection]:
        """A transaction for writing, committed at the end.

        :param durable: whether it must survive a power cut.
        :raises OutboxError: the database refused.
        """
        with (
            self.explained(),
            self._using() as engines,
            (engines.durable if durable else engines.relaxed).begin() as connection,
        ):
            yield connection

    @contextmanager
    def direct(self, *, durable: bool = False, alone: bool = False) -> Iterator[Direct]:
        """As :meth:`transaction`, on the bare driver: what every send waits for, and every try.

        :param alone: a single statement comes, which commits itself where that saves two ways there and back.
        :raises OutboxError: the database refused.
        """
        with self.explained():
            engines, use = self._begin()
            try:
                engine = engines.durable if durable else engines.relaxed
                kept = engines.kept[engine]
                try:
                    connection = kept.pop()  # of several threads, one may find it empty
                except IndexError:
                    connection = engine.raw_connection()
                try:
                    line = Direct(connection, engine.dialect)
                    if self.path is not None:
                        line.exec_driver_sql("BEGIN IMMEDIATE")
                    with _alone(connection, engine) if alone else nullcontext():
                        yield line
                    connection.commit()
                except BaseException:
                    connection.close()  # back to the pool, which rolls back what is not committed
                    raise
                if self.path is None:
                    connection.info[COMMITTED] = True
                    connection.close()
                else:
                    kept.append(connection)
            finally:
                engines.end(use)

    @contextmanager
    def glance(self) -> Iterator[Direct]:
        """The bare driver, for one query.

        :raises OutboxError: the database refused.
        """
        with self.explained(), self._using() as engines:
            engine = engines.relaxed
            with closing(engine.raw_connection()) as connection, _alone(connection, engine):
                yield Direct(connection, engine.dialect)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection for reading: all its statements see the same moment.

        :raises OutboxError: the database refused.
        """
        with self.explained(), self._using() as engines, engines.reading.connect() as connection:
            yield connection

    def listening(self, channel: str) -> PoolProxiedConnection | None:
        """A connection apart that hears what is told on a channel, to be closed by whoever asked for it.

        :returns: None where the database or its driver tells nothing.
        :raises OutboxError: the database refused.
        """
        with self.explained(), self._using() as engines:
            if engines.durable.dialect.driver not in _TELLING:
                return None
            apart = engines.durable.raw_connection()
            apart.detach()
            # In a transaction nothing would be told.
            apart.dbapi_connection.autocommit = True  # type: ignore[union-attr]
            Direct(apart, engines.durable.dialect).exec_driver_sql(f"LISTEN {channel}").close()
            return apart

    def dispose(self) -> None:
        """Close what this process has opened; the next use opens it again."""
        engines = self._engines
        self._forget()
        if engines is not None:
            engines.dispose()

    # -- the schema --------------------------------------------------------------------------------------------

    def create_schema(self) -> int | None:
        """Make the tables where they are missing, and bring older ones to this version.

        :returns: of which version they were before, or None where they were missing.
        :raises SchemaError: they are there in a newer version.
        """
        if self.path is None:
            with self._apart() as engine, engine.begin() as connection:
                check_server(connection.dialect)
                self._found = bring_up(connection)
        self.check_schema()
        found, self._found = self._found, tables.VERSION
        return found

    def script(self) -> list[str]:
        """The statements that :meth:`create_schema` would run.

        :raises SchemaError: the tables are there in a newer version.
        """
        if self.path is not None and not self.path.exists():
            return script(self._url.get_dialect()(), None)
        with self._apart() as engine, engine.connect() as connection:
            check_server(connection.dialect)
            return script(connection.dialect, version_of(connection))

    @contextmanager
    def _apart(self) -> Iterator[Engine]:
        """For the tables, whatever their version."""
        with self.explained():
            engines = Opened(self._url)
            try:
                yield engines.durable
            finally:
                engines.dispose()

    def check_schema(self) -> None:
        """Make sure that the tables can be used; a SQLite file and its tables are made.

        :raises SchemaError: they are missing, or of another version.
        """
        with self.explained():
            self._ready()

    @contextmanager
    def _using(self) -> Iterator[Opened]:
        engines, use = self._begin()
        try:
            yield engines
        finally:
            engines.end(use)

    def _begin(self) -> tuple[Opened, Use]:
        while (use := (engines := self._ready()).begin()) is None:
            with self._lock:  # until this process has forked
                continue
        return engines, use

    def _ready(self) -> Opened:
        engines = self._engines
        if engines is None:
            with self._lock:
                engines = self._engines = self._engines or self._open()
        if engines.file != _identity(self.path):
            # What is written to a file without a name is lost, and SQLite may take the log of its successor away.
            raise OutboxFileError(
                f"The outbox {self.path} was deleted or replaced while in use: restart all processes that use it."
            )
        return engines

    def _open(self) -> Opened:
        if self._torn:
            raise OutboxFileError(
                f"The outbox {self.path} was open when this process was forked, and cannot be used here: let the parent"
                " send nothing before it forks, or start this process by 'spawn'."
            )
        if self.path is not None:
            prepare(self.path)
        engines = Opened(self._url)
        try:
            if self.path is not None:
                self._found = self._make_file(engines, self.path)
            with engines.reading.connect() as connection:
                check_server(connection.dialect)
                check_version(version_of(connection))
            self._set_clock(engines)
            engines.file = _identity(self.path)
        except BaseException:
            engines.dispose()
            raise
        self._closing = finalize(self, engines.dispose)
        self._closing.atexit = False  # workers may still use it then
        return engines

    def set_clock(self) -> None:
        """Ask a server for its time.

        :raises OutboxError: it did not answer.
        """
        with self.explained(), self._using() as engines:
            self._set_clock(engines)

    def _set_clock(self, engines: Opened) -> None:
        if self.path is None:
            with engines.durable.connect() as connection:
                asked = connection.exec_driver_sql(time_of(connection.dialect))
                self.clock.set(float(asked.scalar_one()))

    @staticmethod
    def _make_file(engines: Opened, path: Path) -> int | None:
        """:returns: the version that its tables had, or None where they were missing."""
        lock = FileLock(path.with_name(f"{path.name}-init.lock"))
        lock.acquire(blocking=True)
        try:
            # Switching to the log needs the file alone, and does not wait for it.
            with closing(engines.durable.raw_connection()) as connection:
                cursor = connection.cursor()
                _refuse_foreign(cursor, path)
                cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
                cursor.execute("PRAGMA journal_mode = WAL")
                cursor.close()
            with engines.durable.begin() as connection:
                return bring_up(connection)
        finally:
            lock.release()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Let what the driver raises become ours.

        :raises OutboxError: the database refused.
        """
        try:
            yield
        except DBAPIError as error:
            raise explain(error.orig or error, self.path) from error
        except self._error as error:
            raise explain(error, self.path) from error
        except PoolTimeoutError as error:
            raise all_in_use(MOST, PATIENCE) from error


@contextmanager
def _alone(connection: PoolProxiedConnection, engine: Engine) -> Iterator[None]:
    """Each statement is a transaction of its own meanwhile, where a driver sends BEGIN apart."""
    if engine.dialect.name != "postgresql":
        yield
        return
    driver: Any = connection.dbapi_connection
    driver.autocommit = True
    try:
        yield
    except BaseException:
        connection.invalidate()  # nobody may find it as it is now
        raise
    driver.autocommit = False
    connection.info[COMMITTED] = True


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Which file lies under a name."""
    try:
        found = None if path is None else os.stat(path)  # noqa: PTH116 (each send waits for it)
    except FileNotFoundError:
        return None
    return found and (found.st_dev, found.st_ino)


# -- making ----------------------------------------------------------------------------------------------------


def _refuse_foreign(cursor: DBAPICursor, path: Path) -> None:
    """:raises OutboxFileError: it holds the tables of another application, to whose file nothing must be done."""
    cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    found = [str(name) for (name,) in cursor.fetchall()]
    if found and tables.schema.name not in found:
        raise OutboxFileError(
            f"The outbox {path} is the database of another application, with the table {found[0]!r}: let"
            " MAIL_OUTBOX_URL name a file of its own."
        )


# -- the end, and forks ----------------------------------------------------------------------------------------

_databases: WeakSet[Database] = WeakSet()


@atexit.register  # before any worker is, and so called after they have ended
def _close_all() -> None:
    for database in list(_databases):
        database.dispose()


def _before_fork() -> None:
    """Close everything, as SQLite keeps its locks by process *and* in memory.

    In a child that has inherited an open file its own connections would believe in locks that only the parent holds:
    what they commit is lost when the parent closes the file, or they wait for a lock that nobody releases.
    """
    _forking.acquire()
    for database in list(_databases):
        database._lock.acquire()
        _stopped.append(database._lock)
        engines = database._engines
        if engines is not None and engines.leave(BUSY):
            database._let_go()


def _after_in_parent() -> None:
    while _stopped:
        _stopped.pop().release()
    _forking.release()


def _after_in_child() -> None:
    global _forking
    _forking = threading.Lock()
    _stopped.clear()
    for database in list(_databases):
        database._tear()


#: Held while this process forks.
_forking = threading.Lock()

#: The locks of what may not be opened meanwhile.
_stopped: list[threading.Lock] = []

#: What was in use at a fork, or when a program forked without asking Python first. It can be neither used nor closed
#: in the child, and must not be collected there.
_inherited: list[Opened] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_in_parent,
        after_in_child=_after_in_child,
    )
