"""A transport that keeps what it is given: for tests, and to look at what would have been sent."""

from __future__ import annotations

from ..mail.letter import Letter
from ..rules.outcomes import Kind, Outcome, Phase, Report
from .base import Clearance, Transport


class MemoryTransport(Transport):
    """Accepts everything; :attr:`sent` holds each letter with the recipients it went to, in order."""

    def __init__(self) -> None:
        self.sent: list[tuple[Letter, tuple[str, ...]]] = []

    async def deliver(self, letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        """Keep it."""
        if not clearance.valid() or not await clearance.content():
            return Report()
        self.sent.append((letter, to))
        return Report.of(to, Outcome(Kind.ACCEPTED, phase=Phase.AFTER, text="kept in memory"))

    async def aclose(self) -> None:
        """Nothing is held open."""
