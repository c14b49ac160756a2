"""A send that joins the transaction of a caller's session.

Where the session's database is the outbox's own server, the letters are inserted over the session's connection: one
statement more in a transaction that there is anyway, and no connection besides. Elsewhere, and with SQLite always,
they are kept until the transaction is committed, and stored right after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Dialect, Engine, TwoPhaseTransaction, select
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.sql.elements import ClauseElement

from ..mail.letter import Letter, Terms
from .backends import DRIVERS
from .driver import Line, compiled
from .sends import content_digest, is_content, other_content
from .sessions import Joined, following
from .statements import Statements, statements_for
from .store import Store
from .tables import literal

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

#: What PostgreSQL says of a transaction in which a statement has failed.
_ABORTED = "25P02"

#: The servers that an outbox can live in: the driver for threads, and the port.
_SERVERS = {
    "postgresql": ("psycopg", 5432),
    "mysql": ("pymysql", 3306),
    "mariadb": ("pymysql", 3306),
}

#: What it is called.
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class NotJoinable(Exception):
    """The transaction takes no more statements; the letters are to be stored by themselves."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What came of a join.

    :param ids: for each letter its own, or that of the first one sent under the same key.
    :param rows: whether they are rows of the transaction; if not, they are to be stored after it.
    :param told: whether the database tells the workers at the commit.
    """

    ids: list[str]
    rows: bool
    told: bool = False


class Joining:
    """How the letters of one send become part of a session's transaction.

    :param by: who sends, for whoever has to look for it.
    """

    def __init__(self, session: Session, by: str) -> None:
        self.session = session
        self.by = by

    def store(self, store: Store, batch: Sequence[tuple[Letter, Terms]]) -> Stored:
        """Insert the letters over the session's connection, or see that they can be stored later.

        :raises NotJoinable: the transaction has failed.
        :raises OutboxError: the database refused.
        :raises MessageError: a key was used for another content.
        """
        if not self.session.is_active:
            raise NotJoinable("it has failed, or is prepared")
        if not self.session.in_transaction():
            self.session.begin()
        if not self._same_database(store):
            return Stored(self._known(store, batch), rows=False)
        now = (
            store.now()
        )  # and make sure that its tables are there, before a transaction could fail for it
        with store.database.explained():
            try:
                connection = self.session.connection()
            except InvalidRequestError as error:
                raise NotJoinable("it takes no more statements") from error
            tells = statements_for(connection.dialect).at_once
            quiet = tells and isinstance(connection.get_transaction(), TwoPhaseTransaction)
            sql = QuietStatements.of(connection.dialect) if quiet else None
            return Stored(_enqueue(store, connection, batch, now, sql), rows=True, told=not quiet)

    def keep(self, joined: Joined) -> None:
        """Let the letters have the fate of the transaction."""
        following(self.session).join(self.session, joined)

    def receipt(self, id: str) -> Any:
        """That of a letter which joined the same transaction before, or None."""
        waiting = following(self.session).waiting
        return next((one for joined in waiting for one in joined.receipts if one.id == id), None)

    def whole(self) -> AbstractContextManager[object]:
        """Within it, all is part of the transaction at its end, or nothing if it fails."""
        return self.session.begin_nested()

    def _known(self, store: Store, batch: Sequence[tuple[Letter, Terms]]) -> list[str]:
        """For each letter its own id, or that of the first one under its key: in this transaction, or stored."""
        if all(terms.key is None for _, terms in batch):
            return [letter.id for letter, _ in batch]
        with store.database.glance() as line:
            sql = statements_for(line.dialect)
            return [self._first(store, line, sql, *one) for one in batch]

    def _first(
        self, store: Store, line: Line, sql: Statements, letter: Letter, terms: Terms
    ) -> str:
        if terms.key is None:
            return letter.id
        for joined in following(self.session).waiting:
            for before, its in joined.batch:
                if its.key == terms.key:
                    if content_digest(before) != content_digest(letter):
                        raise other_content(terms.key, terms.place)
                    return before.id
        for first, known in sql.find_key(line, env=store.env, name=terms.key):
            if not is_content(letter, known, store.contents.vault()):
                raise other_content(terms.key, terms.place)
            return str(first)
        return letter.id

    def _same_database(self, store: Store) -> bool:
        if store.path is not None:
            return False
        try:
            bind = self.session.get_bind()
        except InvalidRequestError:  # sessions that have a database for each class alone
            return False
        engine = bind if isinstance(bind, Engine) else bind.engine
        return same_server(engine.url, store.database.url)


def _enqueue(
    store: Store,
    connection: Connection,
    batch: Sequence[tuple[Letter, Terms]],
    now: float,
    sql: Statements | None,
) -> list[str]:
    try:
        return store.enqueue(connection, batch, now, sql)
    except DBAPIError as error:
        if _sqlstate(error.orig) == _ABORTED:
            raise NotJoinable("a statement of its transaction has failed") from error
        raise


class QuietStatements(Statements):
    """Those of a transaction in two phases: PostgreSQL prepares none that has told anyone of anything."""

    @classmethod
    @lru_cache(8)
    def of(cls, dialect: Dialect) -> QuietStatements:
        """Of a connection's dialect."""
        return cls(dialect)

    @compiled
    def store_letters(self) -> ClauseElement:
        """As for others, but that nobody is told."""
        return select(literal("stored")).add_cte(*self.stored)

    @compiled
    def tell(self) -> ClauseElement:
        """What is said afterwards instead."""
        return self.tell_workers


def tell(store: Store) -> None:
    """Let the workers of a server know of letters that were committed."""
    with store.database.direct() as line:
        QuietStatements.of(line.dialect).tell(line, env=store.env)


def _sqlstate(error: BaseException | None) -> str | None:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def same_server(one: URL, other: URL) -> bool:
    """Whether two URLs name the same database of the same server, whatever the driver and the user."""
    return _place(one) is not None and _place(one) == _place(other)


def _place(url: URL) -> tuple[str, str, str, str | None] | None:
    """The kind, host, port and database; None where it is no server that an outbox can live in."""
    backend = url.get_backend_name()
    if backend not in _SERVERS:
        return None
    driver, port = _SERVERS[backend]
    host = url.query.get("host") or url.host or ""
    return (
        driver,
        "localhost" if host in _THIS_MACHINE else str(host),
        str(url.query.get("port") or url.port or port),
        url.database,
    )


def home(url: URL) -> str | None:
    """The URL by which the outbox lives in an application's own database, or None where it cannot."""
    backend = url.get_backend_name()
    if backend not in _SERVERS:
        return None
    if url.get_driver_name() not in DRIVERS[backend]:
        url = url.set(drivername=f"{backend}+{_SERVERS[backend][0]}")
    return url.render_as_string(hide_password=False)
