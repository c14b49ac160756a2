"""The courier: carries one letter, one attempt. It knows no queue and no SQL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from ..mail.letter import Letter
from ..rules.outcomes import Kind, Outcome, Report, Scope
from ..rules.retry import Plan
from ..transports.base import Clearance, Transport

logger = logging.getLogger("flask_outbox")

#: Told of each try: the letter, what it gave, and what follows.
Watcher = Callable[[Letter, Report, Plan], None]

#: Makes the transports, by name, inside the event loop that will use them.
TransportFactory = Callable[[], Mapping[str, Transport]]


class Courier:
    """Carries letters over the transports of one event loop.

    :param make_transports: called once, inside the loop, at the first letter.
    """

    def __init__(self, make_transports: TransportFactory) -> None:
        self._make_transports = make_transports
        self._transports: Mapping[str, Transport] | None = None

    @property
    def transports(self) -> Mapping[str, Transport]:
        if self._transports is None:
            self._transports = self._make_transports()
        return self._transports

    def concurrency(self, transport: str) -> int:
        """How many letters the transport can take at once; 1 for one that does not exist, so that it is reported."""
        road = self.transports.get(transport)
        return road.concurrency if road else 1

    def connections(self, transport: str) -> int:
        """How many contents can be on their way at once."""
        road = self.transports.get(transport)
        return road.connections if road else 1

    async def carry(
        self, letter: Letter, to: tuple[str, ...], transport: str, clearance: Clearance
    ) -> Report:
        """Try once, for those recipients, on that transport."""
        report = await self._try(letter, to, transport, clearance)
        return Report(report.outcomes, report.transport or transport)

    async def _try(
        self, letter: Letter, to: tuple[str, ...], transport: str, clearance: Clearance
    ) -> Report:
        road = self.transports.get(transport)
        if road is None:
            text = f"no transport named {transport!r} is configured in this process"
            return Report.of(to, Outcome(Kind.DEFERRED, Scope.TRANSPORT, text=text))
        try:
            return await road.deliver(letter, to, clearance)
        except Exception as error:
            # A transport returns the world's failures, so this is a bug, in it or in a plug-in. The letter must
            # outlive it, and one letter must not take the worker down.
            logger.exception("letter %s: transport %r failed unexpectedly", letter.id, transport)
            text = f"unexpected {type(error).__name__} in the transport, see the log"
            return Report.of(to, Outcome(Kind.UNKNOWN, Scope.TRANSPORT, text=text))

    async def aclose(self) -> None:
        """Close what was opened."""
        transports, self._transports = self._transports, None
        for road in (transports or {}).values():
            await road.aclose()


class Unconditional:
    """The clearance of a caller who waits: always given."""

    def valid(self) -> bool:
        return True

    async def content(self) -> bool:
        return True
