"""The courier: carries one letter, one attempt. It knows no queue and no SQL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from ..errors import ConfigurationError, MessageError
from ..mail.letter import Letter
from ..rules.outcomes import Kind, Outcome, Report, Scope
from ..rules.retry import Plan
from ..transports.base import Clearance, Transport
from ..transports.dsn import is_url
from .passing import PassingRoads

logger = logging.getLogger("flask_outbox")

#: Told of each try: the letter, what it gave, and what follows.
Watcher = Callable[[Letter, Report, Plan], None]

#: Makes the transports, by name, inside the event loop that will use them.
TransportFactory = Callable[[], Mapping[str, Transport]]


class Courier:
    """Carries letters over the transports of one event loop.

    :param make_transports: called once, inside the loop, at the first letter.
    :param make_passing: makes the one that a URL names; where that cannot be, it raises ConfigurationError or
        MessageError.
    """

    def __init__(
        self,
        make_transports: TransportFactory,
        make_passing: Callable[[str], Transport] | None = None,
    ) -> None:
        self._make_transports = make_transports
        self._transports: Mapping[str, Transport] | None = None
        self._passing = PassingRoads(make_passing) if make_passing else None

    @property
    def transports(self) -> Mapping[str, Transport]:
        """The configured ones, by name."""
        if self._transports is None:
            self._transports = self._make_transports()
        return self._transports

    @property
    def spare(self) -> int:
        """How many more transports than those in use there could be."""
        return self._passing.spare if self._passing else 0

    def concurrency(self, transport: str) -> int:
        """How many letters the transport can take at once; 1 for one that is not there, or not yet."""
        road = self._find(transport)
        return road.concurrency if road else 1

    def kept(self, transport: str) -> int:
        """How many of those only urgent ones may be."""
        road = self._find(transport)
        return road.kept if road else 0

    def connections(self, transport: str) -> int:
        """How many contents can be on their way at once."""
        road = self._find(transport)
        return road.connections if road else 1

    def _find(self, transport: str) -> Transport | None:
        road = self.transports.get(transport)
        return self._passing.get(transport) if road is None and self._passing else road

    async def carry(
        self,
        letter: Letter,
        to: tuple[str, ...],
        transport: str,
        clearance: Clearance,
        url: str = "",
    ) -> Report:
        """Try once, for those recipients, on that transport.

        :param url: of the transport, where its name leaves something out.
        """
        road = self.transports.get(transport)
        if road is not None:
            report = await self._try(road, letter, to, transport, clearance)
        elif self._passing is not None and is_url(transport):
            report = await self._pass(letter, to, transport, clearance, url or transport)
        else:
            report = _absent(to, f"no transport named {transport!r} is configured in this process")
        return Report(report.outcomes, report.transport or transport, report.transcript)

    async def _pass(
        self, letter: Letter, to: tuple[str, ...], transport: str, clearance: Clearance, url: str
    ) -> Report:
        assert self._passing is not None
        try:
            with self._passing.use(url) as road:
                return await self._try(road, letter, to, transport, clearance)
        except (ConfigurationError, MessageError) as error:
            # It was one when the letter was sent; the settings, or a file that it names, are others now.
            return _absent(to, str(error))

    async def _try(
        self,
        road: Transport,
        letter: Letter,
        to: tuple[str, ...],
        transport: str,
        clearance: Clearance,
    ) -> Report:
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
        if self._passing is not None:
            await self._passing.aclose()


def _absent(to: tuple[str, ...], text: str) -> Report:
    return Report.of(to, Outcome(Kind.DEFERRED, Scope.TRANSPORT, text=text))


class Unconditional:
    """The clearance of a caller who waits: always given."""

    urgent = True

    def valid(self) -> bool:
        return True

    async def content(self) -> bool:
        return True
