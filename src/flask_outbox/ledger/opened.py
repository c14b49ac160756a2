"""What one process has opened of an outbox's database, and who uses it at this moment."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from itertools import count
from math import inf
from threading import get_ident
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import PoolProxiedConnection, PoolResetState, QueuePool

from ..errors import OutboxError
from .backends import server_options

#: Seconds that a writer waits for the lock of a SQLite file.
BUSY = 10

#: Connections of a process to a server: those that stay open, and all that there may be at once.
KEPT, MOST = 5, 15

#: Seconds that a thread waits for one of them.
PATIENCE = 30.0

#: Bytes that the write-ahead log is cut back to once it has been merged.
_LOG = 16 * 2**20

#: KiB of pages that a connection keeps; the system keeps them all.
_CACHE = 500

#: UPDATE … FROM came with this version.
_OLDEST_SQLITE = (3, 33)

#: The execution option of a connection that will only read.
_READING = "outbox_reading"

#: Seconds between two looks whether the others are done.
_LOOK = 0.001

#: Seconds after which a connection to a server is asked whether it still stands before it is used.
_IDLE = 1.0

#: When a connection was used last.
_USED = "outbox_used"

#: Set in the ``info`` of a connection that goes back with nothing to undo.
COMMITTED = "outbox_committed"

_numbers = count()

#: A use of a connection: by which thread, and a number that no other has.
Use = tuple[int, int]


class Opened:
    """The connections of one process, in use and idle."""

    def __init__(self, url: URL) -> None:
        self.durable = _engine(url, "FULL")
        self.relaxed = _engine(url, "NORMAL") if is_sqlite(url) else self.durable
        # Elsewhere each statement would see a moment of its own.
        one_moment = {} if is_sqlite(url) else {"isolation_level": "REPEATABLE READ"}
        self.reading = self.relaxed.execution_options(**{_READING: True}, **one_moment)
        #: Connections to the file with nothing left to undo: the pool's own care costs a send a twentieth of its time.
        self.kept: dict[Engine, deque[PoolProxiedConnection]] = {
            self.durable: deque(),
            self.relaxed: deque(),
        }
        #: Which file it is, whatever lies under its name later.
        self.file: tuple[int, int] | None = None
        self._uses: set[Use] = set()
        self._leaving = False

    def begin(self) -> Use | None:
        """A use begins, to be handed to :meth:`end`; None where all is about to be closed."""
        thread = get_ident()
        use = thread, next(_numbers)
        self._uses.add(use)
        # Whoever is at it already may go on, or nobody ever would be done.
        if not self._leaving or self._used_by(thread) > 1:
            return use
        self._uses.discard(use)
        return None

    def end(self, use: Use) -> None:
        """The use has ended."""
        self._uses.discard(use)

    @property
    def used(self) -> bool:
        """Whether anyone is at it."""
        return bool(self._uses)

    def leave(self, patience: float) -> bool:
        """Let no use begin and those under way end, then close everything.

        :returns: whether it is closed; not if one did not end, or is this thread's own.
        """
        self._leaving, end = True, time.monotonic() + patience
        while self._uses and not self._used_by(get_ident()) and time.monotonic() < end:
            time.sleep(_LOOK)
        if self._uses:
            self._leaving = False
            return False
        self.dispose()
        return True

    def dispose(self) -> None:
        """Close what is idle."""
        for kept in self.kept.values():
            while kept:
                kept.pop().close()
        self.durable.dispose()
        self.relaxed.dispose()

    def _used_by(self, thread: int) -> int:
        return sum(user == thread for user, _ in list(self._uses))


def is_sqlite(url: URL) -> bool:
    """Whether it names a file."""
    return url.get_backend_name() == "sqlite"


def _engine(url: URL, synchronous: str) -> Engine:
    if not is_sqlite(url):
        return _server_engine(url)
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
        cursor.execute(f"PRAGMA cache_size = -{_CACHE}")
        cursor.close()

    event.listen(engine, "begin", _begin)
    return engine


def _server_engine(url: URL) -> Engine:
    """For a server: it is asked no more than it has to be, for each question is a way there and back."""
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_reset_on_return=None,
        pool_size=KEPT,
        max_overflow=MOST - KEPT,
        pool_timeout=PATIENCE,
        **server_options(url),
    )

    @event.listens_for(engine, "checkout")
    def check(connection: DBAPIConnection, record: Any, proxy: object) -> None:
        """A connection that was idle may have been cut off meanwhile, and all the others with it."""
        if time.monotonic() - record.info.get(_USED, inf) < _IDLE:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    @event.listens_for(engine, "reset")
    def reset(connection: DBAPIConnection, record: Any, state: PoolResetState) -> None:
        if not (state.terminate_only or record.info.pop(COMMITTED, False)):
            connection.rollback()

    @event.listens_for(engine, "checkin")
    def note(connection: DBAPIConnection | None, record: Any) -> None:
        record.info[_USED] = time.monotonic()

    return engine


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get(_READING)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
