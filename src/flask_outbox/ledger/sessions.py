"""A caller's session: whether its transaction holds changes, and what comes of the letters that joined it.

Each session carries its :class:`Following`, a stack of levels: the transaction, and above it its open savepoints.
A level knows whether anything was changed in it, and which letters joined there. What a savepoint holds goes to the
level below when it is released, and is lost when it is rolled back; what the last level holds is committed or lost.
A transaction that ends without a commit, also because its commit failed or it was closed, has rolled back.

SQLAlchemy's ORM is not imported: who has a session has loaded it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary, WeakSet, finalize, ref

from sqlalchemy import Connection, Engine, event

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, SessionTransaction

    from ..mail.letter import Letter, Terms

#: Where a session has it, in its ``info``.
_KEY = "flask_outbox"

#: Statements that change something, of those that SQLAlchemy has not built.
_CHANGES = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
    r"(?:(?:insert|update|delete|merge|replace|copy|call|do|truncate|create|alter|drop)\b"
    r"|with\b.*?\b(?:insert\s+into|update\s+\S+\s+set|delete\s+from|merge\s+into)\b)",
    re.IGNORECASE | re.DOTALL,
)


class Promise(Protocol):
    """What somebody was given for a letter."""

    @property
    def id(self) -> str: ...


class Joined(Protocol):
    """Letters that are part of a session's transaction."""

    @property
    def receipts(self) -> Sequence[Promise]: ...

    @property
    def batch(self) -> Sequence[tuple[Letter, Terms]]: ...

    def committed(self) -> None:
        """The transaction is committed. Called within the commit: raises nothing."""
        ...

    def lost(self) -> None:
        """It is not, and never will be; raises nothing."""
        ...

    def left(self) -> None:
        """It was neither committed nor rolled back, but closed after the end of who sent; raises nothing."""
        ...


class _Level:
    """The transaction, or a savepoint in it."""

    __slots__ = ("changed", "joined", "transaction")

    def __init__(self, transaction: SessionTransaction) -> None:
        self.transaction = ref(transaction)
        self.changed = False
        self.joined: list[Joined] = []


class Following:
    """What is known of a session's transaction; without a reference to the session itself, which it must not keep."""

    def __init__(self) -> None:
        self._levels: list[_Level] = []
        self._left = False
        self._ending: finalize[[], Session] | None = None

    @property
    def changed(self) -> bool:
        """Whether the transaction has sent a change to the database."""
        return any(level.changed for level in self._levels)

    @property
    def waiting(self) -> list[Joined]:
        """What waits for the end of the transaction."""
        return [joined for level in self._levels for joined in level.joined]

    def note_change(self, session: Session) -> None:
        """Something was changed."""
        level = self._level(session)
        if level is not None:
            level.changed = True

    def join(self, session: Session, joined: Joined) -> None:
        """Letters become part of the transaction as it is now."""
        level = self._level(session)
        if level is None:  # ended meanwhile, by what the statement set off
            joined.lost()
            return
        level.changed = True
        level.joined.append(joined)
        if self._ending is None:
            # A session that nobody closes ends with its last reference, and nobody is told.
            self._ending = finalize(session, self.forget)
            self._ending.atexit = False

    def _level(self, session: Session) -> _Level | None:
        now = session.get_nested_transaction() or session.get_transaction()
        if now is None:
            return None
        for level in self._levels:
            if level.transaction() is now:
                return level
        self._levels.append(_Level(now))
        return self._levels[-1]

    def release(self, savepoint: SessionTransaction) -> None:
        """What a savepoint holds belongs to the level below."""
        above = self._take(savepoint)
        if above is None:
            return
        below = savepoint.parent
        while below is not None and below.parent is not None and not below.nested:
            below = below.parent
        if below is None:
            return
        level = next((one for one in self._levels if one.transaction() is below), None)
        if level is None:
            level = _Level(below)
            self._levels.insert(0, level)
        level.changed |= above.changed
        level.joined += above.joined

    def commit(self) -> None:
        """The transaction is committed."""
        for joined in self._empty():
            joined.committed()

    def roll_back(self, savepoint: SessionTransaction) -> None:
        """A savepoint is gone."""
        if (level := self._take(savepoint)) is not None:
            for joined in level.joined:
                joined.lost()

    def end(self) -> None:
        """The transaction is gone; what is still here was not committed."""
        left = self._left
        for joined in self._empty():
            if left:
                joined.left()
            else:
                joined.lost()

    def leave(self) -> None:
        """Whoever sent has come to an end: if the transaction is only closed after this, the letters are sent."""
        self._left = True

    def keep(self) -> None:
        """Somebody goes on with the transaction after all."""
        self._left = False

    def forget(self) -> None:
        """The session is gone, with a transaction that it had not ended; what it has locked may be so still."""
        self._left = False
        self.end()

    def _take(self, transaction: SessionTransaction) -> _Level | None:
        for position, level in enumerate(self._levels):
            if level.transaction() is transaction:
                return self._levels.pop(position)
        return None

    def _empty(self) -> list[Joined]:
        levels, self._levels, self._left = self._levels, [], False
        if self._ending is not None:
            self._ending.detach()
            self._ending = None
        return [joined for level in levels for joined in level.joined]


def watch(kind: type[Session]) -> None:
    """Follow all sessions of a class from their first statement on."""
    if kind not in _watched:
        _watched.add(kind)
        event.listen(kind, "after_begin", _on_begin)
        _listen(kind)


def following(session: Session) -> Following:
    """What is known of a session, which is followed from now on if it was not before."""
    known: Following | None = session.info.get(_KEY)
    if known is None:
        known = session.info[_KEY] = Following()
        _listen(session)
    return known


def holds_changes(session: Session) -> bool:
    """Whether its transaction would change something: what it knows of, or what it was seen to send."""
    known: Following | None = session.info.get(_KEY)
    if known is not None and known.changed:
        return True
    if session.new or session.deleted:
        return True
    return any(session.is_modified(one) for one in session.dirty)


# -- what SQLAlchemy tells -------------------------------------------------------------------------------------

#: The sessions that connections work for. A connection object is never used again for another one.
_sessions: WeakKeyDictionary[Connection, ref[Session]] = WeakKeyDictionary()

#: Which classes and engines tell us. SQLAlchemy's own answer may be about a dead one that was at the same place.
_watched: WeakSet[type[Session]] = WeakSet()
_heard: WeakSet[Engine] = WeakSet()


def _listen(sessions: object) -> None:
    handlers: tuple[tuple[str, Callable[..., None]], ...] = (
        ("after_commit", _on_commit),
        ("after_rollback", _on_rollback),
        ("after_transaction_end", _on_end),
    )
    for name, handler in handlers:
        event.listen(sessions, name, handler)


def _on_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    session.info.setdefault(_KEY, Following())
    _sessions[connection] = ref(session)
    engine: Engine = connection.engine
    if engine not in _heard:
        _heard.add(engine)
        event.listen(engine, "after_cursor_execute", _on_statement)


def _on_statement(
    connection: Connection,
    cursor: object,
    statement: str,
    parameters: object,
    context: Any,
    executemany: bool,
) -> None:
    if statement.startswith("SELECT"):
        return
    if context.isinsert or context.isupdate or context.isdelete or _CHANGES.match(statement):
        named = _sessions.get(connection)
        session = None if named is None else named()
        if session is not None:
            session.info[_KEY].note_change(session)


def _on_commit(session: Session) -> None:
    known: Following | None = session.info.get(_KEY)
    if known is None:
        return
    savepoint = session.get_nested_transaction()
    if savepoint is None:
        known.commit()
    else:
        known.release(savepoint)


def _on_rollback(session: Session) -> None:
    known: Following | None = session.info.get(_KEY)
    if known is not None:
        known.keep()


def _on_end(session: Session, transaction: SessionTransaction) -> None:
    known: Following | None = session.info.get(_KEY)
    if known is None:
        return
    if transaction.nested:
        known.roll_back(transaction)
    elif transaction.parent is None:
        known.end()
