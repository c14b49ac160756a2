"""The contract of a transport: a road a letter can take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from ..mail.letter import Letter
from ..rules.outcomes import Report


class Clearance(Protocol):
    """Asked by a transport whether a letter may still go; a worker answers from the lease and the clock."""

    #: Whether the letter is to go before others.
    urgent: bool

    def valid(self) -> bool:
        """Whether lease, cancellation and expiry still allow it; asked before an envelope is written."""
        ...

    async def content(self) -> bool:
        """Asked at the last moment before the content leaves; may wait. False: it must not leave any more."""
        ...


class Transport(ABC):
    """A road. Made inside the event loop that uses it, and used by that loop only."""

    #: How many letters are worth handing over at once.
    concurrency: int = 1

    #: How many of those only urgent ones may be.
    kept: int = 0

    #: How many contents can be on their way at once.
    connections: int = 1

    @abstractmethod
    async def deliver(self, letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        """Try once, for the recipients that are still open.

        The world's failures come back as outcomes, one per recipient; an empty report means that nothing was
        tried because the clearance was withdrawn before the content left.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Finish politely and free what is held."""
