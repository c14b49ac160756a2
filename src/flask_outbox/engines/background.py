"""The background engine: keeps letters in memory and returns; the pooled loop of the process delivers them.

Nothing is stored: what a process that is killed has in memory is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from ..delivery.loop import following
from ..delivery.native import FOREVER
from ..delivery.process import Process
from ..errors import DeliveryError, MessageError
from ..mail.letter import Letter, Terms
from ..rules.outcomes import Kind, Outcome, Report, Scope
from .base import Engine, Receipt

#: What may be done with a letter that there is no room for (``MAIL_BACKGROUND_OVERFLOW``).
OVERFLOWS = (BLOCK, RAISE, SPILL) = ("block", "raise", "spill")

_Batch = Sequence[tuple[Letter, Terms]]


class BackgroundEngine(Engine):
    """Returns at once, unless there is no room.

    :param overflow: one of :data:`OVERFLOWS`.
    :param outbox: takes what must not be kept in memory; where there is one.
    """

    def __init__(self, process: Process, overflow: str, outbox: Engine | None = None) -> None:
        self._process = process
        self._overflow = overflow
        self._outbox = outbox
        self.writes = overflow == SPILL

    def submit(self, batch: _Batch) -> list[Receipt]:
        """Take the letters into memory.

        :raises BacklogFullError: there is no room; none of them was taken.
        :raises DeliveryError: one of them must not be sent, and cannot be held.
        """
        taken = self._put(batch)
        if isinstance(taken, Engine):
            return taken.submit(batch)
        taken.result(FOREVER)
        return _receipts(batch)

    def begin(self, batch: _Batch) -> Future[list[Receipt]]:
        """Take the letters into memory; the future waits for room at most."""
        taken = self._put(batch)
        if isinstance(taken, Engine):
            return taken.begin(batch)
        return following(taken, lambda _: _receipts(batch))

    def _put(self, batch: _Batch) -> Future[None] | Engine:
        """Take the letters, or say who takes them instead."""
        for letter, terms in batch:
            if terms.key is not None:
                raise MessageError(
                    "'key' needs the outbox, which remembers it: send with engine='outbox'.",
                    field="key",
                )
            if terms.hold:
                if self._outbox is None:
                    raise refusal(letter, terms)
                return self._outbox
        backlog = self._process.backlog
        taken = backlog.put(batch, wait=self._overflow == BLOCK)
        if taken is not None:
            return taken
        if self._overflow == SPILL and self._outbox is not None:
            return self._outbox
        raise backlog.space.full()


def refusal(letter: Letter, terms: Terms) -> DeliveryError:
    """Nothing is stored here that could wait for a person."""
    from .smtplib_errors import delivery_error

    refused = Outcome(Kind.REFUSED, Scope.MESSAGE, text=terms.hold)
    return delivery_error(letter, Report.of(letter.envelope_to, refused))


def _receipts(batch: _Batch) -> list[Receipt]:
    return [Receipt(letter.id, letter.message_id, "queued", durable=False) for letter, _ in batch]
