"""Several roads in their order: what one cannot take, the next one does; see :mod:`flask_outbox.rules.roads`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from ..mail.letter import TRANSPORT, Letter
from ..rules.outcomes import Kind, Outcome, Report, Scope
from ..rules.roads import Rests, hopeful, is_of_the_road, passes_on
from .base import Clearance, Transport

logger = logging.getLogger("flask_outbox")


class FailoverTransport(Transport):
    """The first road that works.

    The letter is one and the same on each road, and composed by the same function, so that its bytes are, too.

    :param roads: by name, in their order.
    :param rests: those of them that are set aside, here and wherever else they are used.
    :param borrowed: the names of those that somebody else closes.
    :param clock: seconds.
    """

    def __init__(
        self,
        roads: Mapping[str, Transport],
        *,
        rests: Rests,
        borrowed: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roads = dict(roads)
        self._rests = rests
        self._borrowed = borrowed
        self._clock = clock
        self.concurrency, self.kept = max((road.concurrency, road.kept) for road in roads.values())
        # At a failure, contents can be on their way on one road and already on the next.
        self.connections = sum(road.connections for road in roads.values())

    def _preferred(self) -> Iterable[str]:
        """The roads in the order of preference, were all of them well."""
        return self._roads

    async def deliver(self, letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        """Try the roads, until nobody is open whom the next one might reach."""
        trip = _Trip(to)
        for name in self._rests.order(self._preferred(), self._clock()):
            report = await self._try(name, letter, trip.open, clearance)
            trip.note(name, report)
            if not trip.open:
                break
        return trip.report()

    async def _try(
        self, name: str, letter: Letter, to: tuple[str, ...], clearance: Clearance
    ) -> Report:
        self._begin(name)
        try:
            report = await self._roads[name].deliver(letter, to, clearance)
        except Exception as error:
            # A bug in a transport; what other roads have accepted must not be forgotten over it.
            logger.exception("letter %s: transport %r failed unexpectedly", letter.id, name)
            text = f"unexpected {type(error).__name__} in the transport, see the log"
            report = Report.of(to, Outcome(Kind.UNKNOWN, Scope.TRANSPORT, text=text))
        self._judge(name, report)
        return report

    def _begin(self, name: str) -> None:
        self._rests.begin(name, self._clock())

    def _judge(self, name: str, report: Report) -> None:
        failure = next((outcome for _, outcome in report if is_of_the_road(outcome)), None)
        if failure is not None:
            seconds = self._rests.failed(name, failure, self._clock())
            if seconds:
                text = "transport %r is set aside for %.0f seconds, while others take its mail: %s"
                logger.warning(text, name, seconds, failure)
        elif report and self._rests.well(name):
            logger.info("transport %r takes mail again", name)

    async def aclose(self) -> None:
        """Close the roads that are nobody else's."""
        for name, road in self._roads.items():
            if name not in self._borrowed:
                await road.aclose()


class _Trip:
    """One try of one letter, over as many roads as it takes.

    :ivar open: whom the next road might still reach.
    """

    def __init__(self, to: tuple[str, ...]) -> None:
        self._to = self.open = to
        self._outcomes: dict[str, Outcome] = {}
        self._roads: dict[str, str] = {}  # which one the outcome of a recipient is of
        self._transcripts: list[str] = []

    def note(self, name: str, report: Report) -> None:
        """What one road made of it; nothing where the letter must not leave any more."""
        for to, outcome in report:
            before = self._outcomes.get(to)
            if before is None or not passes_on(outcome):
                self._outcomes[to] = outcome
            else:
                self._outcomes[to] = hopeful(before, outcome)
            self._roads[to] = report.transport or name
        self.open = tuple(to for to, outcome in report if passes_on(outcome))
        if report.transcript:
            self._transcripts.append(f"{report.transport or name}:\n{report.transcript}")

    def report(self) -> Report:
        """All of it. The transport is the road that took the letter; "" where no road did."""
        outcomes = {to: self._outcomes[to] for to in self._to if to in self._outcomes}
        # A fault of the account pauses what the report names: never one road alone, which others may use as well.
        failed = any(
            passes_on(outcome) or (is_of_the_road(outcome) and outcome.scope is Scope.ACCOUNT)
            for outcome in outcomes.values()
        )
        roads = () if failed else dict.fromkeys(self._roads[to] for to in outcomes)
        report = Report(outcomes, ", ".join(roads)[:TRANSPORT])
        if report.all_accepted:
            return report
        return Report(outcomes, report.transport, "\n".join(self._transcripts))
