"""What passes between the face and what stands behind it: the keywords of a send, and the contract of a desk."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future

    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

    from ._batch import Group
    from ._flask_mail import Connection, _Mail
    from .engines.base import Receipt
    from .ledger.reports import Reports
    from .mail.address import Written
    from .mail.letter import Letter
    from .mail.message import Message as Draft


#: A session whose transaction a send may join.
AnySession: TypeAlias = (
    "Session | scoped_session[Any] | AsyncSession | async_scoped_session[AsyncSession]"
)

#: ``"auto"`` is that of the application, where it holds changes; None is none.
SessionChoice: TypeAlias = "AnySession | Literal['auto'] | None"

#: What can be awaited for a receipt.
Pending: TypeAlias = "Future[Receipt] | Callable[[], Awaitable[Receipt]]"


class SQLAlchemy(Protocol):
    """Flask-SQLAlchemy, or Flask-SQLAlchemy-Lite."""

    @property
    def session(self) -> Session | scoped_session[Any]:
        """That of the current application context."""
        ...

    @property
    def engine(self) -> Engine:
        """The one that is used by default."""
        ...


class SendOptions(NamedTuple):
    """The keywords of :meth:`_MailMixin.send`."""

    engine: str | None = None
    delay: timedelta | None = None
    at: datetime | None = None
    expires: datetime | timedelta | None = None
    priority: str | None = None
    key: str | None = None
    guarantee: str = "at_least_once"
    transport: str | None = None
    retry_delays: Sequence[float | timedelta] | None = None
    hold: bool | str = False
    wait: bool = True
    session: SessionChoice = "auto"

    def __repr__(self) -> str:
        # Of a transport that is a URL the password is a part.
        shown = [f"{name}={self._asdict()[name]!r}" for name in self._fields if name != "transport"]
        return f"SendOptions({', '.join(shown)})"


class Desk(Protocol):
    """What stands behind the face of one application."""

    @property
    def state(self) -> _Mail:
        """The application's ``app.extensions["mail"]``."""
        ...

    @state.setter
    def state(self, state: _Mail) -> None: ...

    def submit(self, connection: Connection, message: object, path: Written | None) -> Receipt:
        """Check a message and hand it to its engine, or to the connection's own host."""
        ...

    def gather(self, connection: Connection, *, atomic: bool) -> AbstractContextManager[Group]:
        """Let a connection collect what is sent over it."""
        ...

    async def answer(self, pending: Pending, message: object) -> Receipt:
        """Wait until a message was taken."""
        ...

    def seal(self, state: _Mail, message: Draft, id: str, now: float) -> Letter:
        """Make a letter of a message, with what the settings say where it says nothing."""
        ...

    def unsent(self) -> Receipt:
        """The receipt for what some override of a step did not hand on."""
        ...

    def wants_host(self, connection: Connection) -> bool:
        """Whether a connection whose ``configure_host`` is overridden is to call it."""
        ...

    def reports(self) -> Reports:
        """What became of the messages."""
        ...

    def cancel(self, id: str) -> bool:
        """Take a message out of the queue, if it is there."""
        ...

    def retry(self, id: str) -> bool:
        """Put a message back into the queue, if it has ended or waits for a person."""
        ...

    def hold(self, id: str, reason: str) -> bool:
        """Keep a message back, if it is in the queue."""
        ...

    def release(self, id: str) -> bool:
        """Let a message go that is kept back."""
        ...
