"""A transport that accepts everything and sends nothing."""

from __future__ import annotations

from ..mail.letter import Letter
from ..rules.outcomes import Kind, Outcome, Phase, Report
from .base import Clearance, Transport


class NullTransport(Transport):
    """Where mail goes that nobody is to get."""

    async def deliver(self, letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        """Forget it."""
        if not clearance.valid() or not await clearance.content():
            return Report()
        return Report.of(to, Outcome(Kind.ACCEPTED, phase=Phase.AFTER, text="sent nowhere"))

    async def aclose(self) -> None:
        """Nothing is held open."""
