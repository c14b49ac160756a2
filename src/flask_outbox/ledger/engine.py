"""The outbox's own connections: opened at first use, one transaction at a time, never across a fork.

SQLite is driven in autocommit mode and each transaction begun here: writers with BEGIN IMMEDIATE, so that two of
them queue for the lock instead of failing when the second one upgrades. Two pools differ in one setting: a letter
is stored with ``synchronous=FULL``, so that it survives a power cut; a worker's results with NORMAL, for losing the
last of them only repeats a mail.
"""

from __future__ import annotations

import atexit
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from weakref import WeakSet, finalize

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from ..errors import ConfigurationError, OutboxError, OutboxFileError, SchemaError
from . import tables
from .driver import Direct
from .file import FileLock, prepare

#: Seconds that a writer waits for the lock of a SQLite file.
BUSY = 10

#: Bytes that the write-ahead log is cut back to once it has been merged.
_LOG = 16 * 2**20

#: UPDATE … FROM came with this version.
_OLDEST_SQLITE = (3, 33)

#: The execution option of a connection that will only read.
_READING = "outbox_reading"

_WRITABLE = "Let the process's user read and write the file and its folder."

#: By SQLite's primary result code (https://sqlite.org/rescode.html): what a person can do.
_CURES = {
    sqlite3.SQLITE_PERM: _WRITABLE,
    sqlite3.SQLITE_READONLY: _WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _WRITABLE,
    sqlite3.SQLITE_BUSY: f"Another process kept it locked for {BUSY} seconds: look for one that hangs, or a backup.",
    sqlite3.SQLITE_IOERR: "Look for a failing or full disk.",
    sqlite3.SQLITE_FULL: "Free space on its disk.",
    sqlite3.SQLITE_CORRUPT: "Move the file away and restore a copy; 'sqlite3 FILE .recover' may save what it holds.",
    sqlite3.SQLITE_NOTADB: "Move the file away, a new one is made; or let MAIL_OUTBOX_URL name another.",
}


class _Engines:
    """What one process has opened."""

    def __init__(self, url: URL) -> None:
        self.durable = _engine(url, "FULL")
        self.relaxed = _engine(url, "NORMAL") if _is_sqlite(url) else self.durable
        self.reading = self.relaxed.execution_options(**{_READING: True})
        #: Connections to the file with nothing left to undo: the pool's own care costs a send a twentieth of its time.
        self.kept: dict[Engine, deque[PoolProxiedConnection]] = {
            self.durable: deque(),
            self.relaxed: deque(),
        }
        #: Which file it is, whatever lies under its name later.
        self.file: tuple[int, int] | None = None

    def dispose(self) -> None:
        for kept in self.kept.values():
            while kept:
                kept.pop().close()
        self.durable.dispose()
        self.relaxed.dispose()


class Database:
    """The database that an outbox lives in. Making one opens nothing.

    :param url: SQLAlchemy's, ``sqlite:////absolute/path`` or a server database.
    :raises ConfigurationError: no outbox can live there.
    """

    def __init__(self, url: str) -> None:
        self._url = _checked(url)
        self._error = _driver_error(self._url)
        #: The SQLite file, or None for a server database.
        self.path: Path | None = None
        if _is_sqlite(self._url):
            self.path = Path(self._url.database or "").absolute()
            self._url = self._url.set(database=str(self.path))
        #: Closes what is open when this object is collected, as the applications of tests are.
        self._closing: finalize[[], Database] | None = None
        self._forget()
        _databases.add(self)

    @property
    def name(self) -> str:
        """The file or database, without what may be secret."""
        bare = self._url.set(query={})
        return str(self.path or bare.render_as_string(hide_password=True))

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._engines: _Engines | None = None
        if self._closing is not None:
            self._closing.detach()

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[Connection]:
        """A transaction for writing, committed at the end.

        :param durable: whether it must survive a power cut.
        :raises OutboxError: the database refused.
        """
        with self._explained():
            engines = self._ready()
            with (engines.durable if durable else engines.relaxed).begin() as connection:
                yield connection

    @contextmanager
    def direct(self, *, durable: bool = False) -> Iterator[Direct]:
        """As :meth:`transaction`, on the bare driver: what every send waits for, and every try.

        :raises OutboxError: the database refused.
        """
        with self._explained():
            engines = self._ready()
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
                yield line
                connection.commit()
            except BaseException:
                connection.close()  # back to the pool, which rolls back what is not committed
                raise
            if self.path is None:
                connection.close()
            else:
                kept.append(connection)

    @contextmanager
    def glance(self) -> Iterator[Direct]:
        """The bare driver, for one query.

        :raises OutboxError: the database refused.
        """
        with self._explained():
            engine = self._ready().relaxed
            with closing(engine.raw_connection()) as connection:
                yield Direct(connection, engine.dialect)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection for reading: all its statements see the same moment.

        :raises OutboxError: the database refused.
        """
        with self._explained(), self._ready().reading.connect() as connection:
            yield connection

    def dispose(self) -> None:
        """Close what this process has opened; the next use opens it again."""
        engines = self._engines
        self._forget()
        if engines is not None:
            engines.dispose()

    # -- the schema --------------------------------------------------------------------------------------------

    def create_schema(self) -> None:
        """Make the tables where they are missing.

        :raises SchemaError: they are there in another version.
        """
        if self.path is None:
            engines = _Engines(self._url)
            with self._explained():
                _make_tables(engines.durable)
            engines.dispose()
        self.check_schema()

    def check_schema(self) -> None:
        """Make sure that the tables can be used; a SQLite file and its tables are made.

        :raises SchemaError: they are missing, or of another version.
        """
        with self._explained():
            self._ready()

    def _ready(self) -> _Engines:
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

    def _open(self) -> _Engines:
        if self.path is not None:
            prepare(self.path)
        engines = _Engines(self._url)
        try:
            if self.path is not None:
                self._make_file(engines, self.path)
            _check_version(engines.reading)
            engines.file = _identity(self.path)
        except BaseException:
            engines.dispose()
            raise
        self._closing = finalize(self, engines.dispose)
        self._closing.atexit = False  # workers may still use it then
        return engines

    @staticmethod
    def _make_file(engines: _Engines, path: Path) -> None:
        lock = FileLock(path.with_name(f"{path.name}-init.lock"))
        lock.acquire(blocking=True)
        try:
            # Switching to the log needs the file alone, and does not wait for it.
            with closing(engines.durable.raw_connection()) as connection:
                cursor = connection.cursor()
                cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
                cursor.execute("PRAGMA journal_mode = WAL")
                cursor.close()
            _make_tables(engines.durable)
        finally:
            lock.release()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise _explain(error.orig or error, self.path) from error
        except self._error as error:
            raise _explain(error, self.path) from error


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError(
            "'MAIL_OUTBOX_URL' must be a database URL as SQLAlchemy knows them, like sqlite:////var/lib/app/outbox.sqlite."
        ) from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigurationError("'MAIL_OUTBOX_URL' must name a SQLite or PostgreSQL database.")
    if _is_sqlite(parsed) and (parsed.database or ":").startswith((":", "file:")):
        raise ConfigurationError(
            "'MAIL_OUTBOX_URL' must name a file: an outbox in memory keeps nothing."
        )
    return parsed


def _driver_error(url: URL) -> type[Exception]:
    """The root of the driver's exceptions. The driver is loaded here, in the thread that sets the application up."""
    try:
        error: type[Exception] = url.get_dialect().import_dbapi().Error
    except ImportError as missing:
        raise ConfigurationError(
            f"'MAIL_OUTBOX_URL' needs the package {missing.name!r}: install it."
        ) from missing
    return error


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Which file lies under a name."""
    try:
        found = None if path is None else os.stat(path)  # noqa: PTH116 (each send waits for it)
    except FileNotFoundError:
        return None
    return found and (found.st_dev, found.st_ino)


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _explain(error: BaseException, path: Path | None) -> OutboxError:
    cure = _CURES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if path is None or cure is None:
        return OutboxError(f"The outbox's database refused: {error}")
    return OutboxFileError(f"The outbox {path} cannot be used: {error}. {cure}")


# -- making ----------------------------------------------------------------------------------------------------


def _engine(url: URL, synchronous: str) -> Engine:
    if not _is_sqlite(url):
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise OutboxError(
            f"The outbox needs SQLite 3.33 or newer, this Python has {sqlite3.sqlite_version}: let MAIL_OUTBOX_URL"
            " name a PostgreSQL database."
        )
    # However many threads send at once, each gets its connection: they wait for the file's lock, not for the pool.
    engine = create_engine(
        url,
        hide_parameters=True,
        poolclass=QueuePool,
        max_overflow=-1,
        connect_args={"isolation_level": None, "timeout": BUSY, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
        cursor.execute(f"PRAGMA journal_size_limit = {_LOG}")
        cursor.close()

    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get(_READING)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _make_tables(engine: Engine) -> None:
    with engine.begin() as connection:
        if _version(connection) is None:
            if engine.dialect.name == "postgresql":
                tables.prepare_for("postgresql")
            tables.metadata.create_all(connection)
            connection.execute(insert(tables.schema).values(version=tables.VERSION))


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table(tables.schema.name):
        return None
    return connection.execute(select(tables.schema.c.version)).scalar()


def _check_version(engine: Engine) -> None:
    with engine.connect() as connection:
        version = _version(connection)
    if version is None:
        raise SchemaError("The outbox's tables are missing: run 'flask mail init-db'.")
    if version != tables.VERSION:
        raise SchemaError(
            f"The outbox's tables are of version {version}, this Flask-Outbox needs {tables.VERSION}: run the"
            " version of Flask-Outbox that made them, or a newer one."
        )


# -- the end, and forks ----------------------------------------------------------------------------------------

_databases: WeakSet[Database] = WeakSet()


@atexit.register  # before any worker is, and so called after they have ended
def _close_all() -> None:
    for database in list(_databases):
        database.dispose()


#: What a parent had opened. Its connections must be neither used nor closed in the child: SQLite would then merge
#: or delete the log under its parent's feet. Kept, so that the garbage collector does not close them either.
_inherited: list[object] = []


def _put_aside() -> None:
    for database in list(_databases):
        _inherited.append(database._engines)
        database._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_put_aside)
