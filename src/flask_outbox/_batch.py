"""One ``send_many``: letters are stored in groups, so that a million messages need no more memory than 500."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ._message import Message, new_id
from .engines.base import Batch, Receipt
from .errors import MailError, MessageError
from .mail.letter import Letter, Place, Terms

if TYPE_CHECKING:
    from ._flask_mail import Connection
    from .engines.base import Engine
    from .ledger.joining import Joining

#: How many bytes of letters are stored at once.
BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class _Held:
    """A letter that is not yet stored, and the message that it was made of."""

    index: int
    message: object
    letter: Letter
    terms: Terms


class Group:
    """What a connection collects, in the place of sending it at once.

    :param dispatch: told of each message once its letter is stored.
    :param find: the ids of what is stored of a batch.
    :param atomic: whether all of it is sent, or nothing.
    :param joining: how it is part of a transaction of the application's, if it is.
    """

    def __init__(
        self,
        dispatch: Callable[[object], object],
        find: Callable[[str], Iterator[str]],
        *,
        atomic: bool,
        joining: Joining | None = None,
    ) -> None:
        self.id: str = new_id(time.time())
        #: How many messages were taken.
        self.count: int = 0
        self._dispatch, self._find = dispatch, find
        self._atomic = atomic
        self._joining = joining
        self._index = 0
        self._held: list[_Held] = []
        self._bytes = 0
        self._position = 0
        self._engine: Engine | None = None
        self._opening: AbstractContextManager[object] | None = None
        self._whole = ExitStack()

    def fill(
        self,
        connection: Connection,
        messages: Iterable[Message],
        key: Callable[[Message], str | None] | None,
        send: Callable[[Connection, Message], object],
    ) -> Batch:
        """Send the messages over a connection that collects here, and store them all.

        :param send: one of them.
        """
        try:
            self._fill(connection, messages, key, send)
        except BaseException as error:
            taken = Batch(self.id, 0 if self._atomic else self.count, self._ids)
            error.add_note(f"{taken.count} messages of the batch {self.id} were taken before.")
            if isinstance(error, MailError):
                error.batch = taken
            if isinstance(error, MessageError) and error.index is not None:
                error.args = (f"message {error.index}: {error}",)
            raise
        return Batch(self.id, self.count, self._ids)

    def _fill(
        self,
        connection: Connection,
        messages: Iterable[Message],
        key: Callable[[Message], str | None] | None,
        send: Callable[[Connection, Message], object],
    ) -> None:
        with self._whole:
            for self._index, message in enumerate(messages):
                if key is not None:
                    connection.options = connection.options._replace(key=key(message))
                try:
                    send(connection, message)
                except MessageError as error:
                    error.index = self._index if error.index is None else error.index
                    raise
            self._store(last=True)

    def _ids(self, id: str) -> Iterator[str]:
        return self._find(id) if self._position else iter(())

    def take(self, engine: Engine, message: object, letter: Letter, terms: Terms) -> Receipt:
        """Keep a letter until there are enough of them."""
        if self._engine is None:
            self._engine = engine
            self._opening = self._whole_of(engine) if self._atomic else None
        self._held.append(_Held(self._index, message, letter, terms))
        self._bytes += letter.size
        if len(self._held) >= engine.group or self._bytes >= BYTES:
            self._store()
        return Receipt(letter.id, letter.message_id, "queued", durable=False)

    def _whole_of(self, engine: Engine) -> AbstractContextManager[object]:
        return engine.atomic(self.id) if self._joining is None else self._joining.whole()

    def _store(self, *, last: bool = False) -> None:
        if self._engine is None or not self._held:
            return
        if self._opening is not None and not last:
            # One group alone is stored by one transaction, as a whole or not at all.
            self._whole.enter_context(self._opening)
            self._opening = None
        waits = self._atomic and self._opening is None and self._joining is None
        held, self._held, self._bytes = self._held, [], 0
        batch = [
            (one.letter, replace(one.terms, place=Place(self.id, position, waits)))
            for position, one in enumerate(held, self._position)
        ]
        try:
            if self._joining is None:
                self._engine.submit(batch)
            else:
                self._engine.join(batch, self._joining)
        except MessageError as error:
            if error.index is not None:
                error.index = held[error.index - self._position].index
            raise
        self._position += len(held)
        self.count += len(held)
        for one in held:
            self._dispatch(one.message)
