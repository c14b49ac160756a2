"""What passes between the face and what stands behind it: the keywords of a send, and the contract of a desk."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ._batch import Group
    from ._flask_mail import Connection, _Mail
    from .engines.base import Receipt
    from .ledger.reports import Reports
    from .mail.address import Written
    from .mail.letter import Letter
    from .mail.message import Message as Draft


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
    wait: bool = True

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

    async def answer(self, pending: Future[Receipt], message: object) -> Receipt:
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
