"""Which of several roads a letter takes: when it goes on to the next one, and which ones are left alone for a while.

1. A letter goes on where the road failed (the transport or its account) before the content was complete, and for the
   recipients that are still open. Who was refused is not tried elsewhere; what may have been accepted never is.
2. A road that failed is set aside, longer each time, and then a single letter tries it. One with a fault of its
   account, such as a wrong password, is set aside for long at once.
3. What is set aside is only less preferred: where no other road takes a letter, it is tried after all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .outcomes import Kind, Outcome, Phase, Scope

#: Seconds that a road is set aside at its first failure; twice as long at each further one, up to the most.
FIRST = 30.0
MOST = 600.0

#: A road that says when to come back is taken at its word for so many seconds at most.
_MOST_ASKED = 3_600.0


def is_of_the_road(outcome: Outcome) -> bool:
    """Whether the road failed, and not the letter or its recipient."""
    return not outcome.accepted and outcome.scope in (Scope.TRANSPORT, Scope.ACCOUNT)


def passes_on(outcome: Outcome) -> bool:
    """Whether another road may be tried after it, for this recipient."""
    return (
        is_of_the_road(outcome)
        and outcome.kind is not Kind.UNKNOWN
        and outcome.phase is Phase.BEFORE
    )


def hopeful(one: Outcome, other: Outcome) -> Outcome:
    """Which of two failures of roads stands for both: the one that heals by itself, and sooner."""
    return min(
        one, other, key=lambda found: (found.scope is Scope.ACCOUNT, found.retry_after or 0.0)
    )


@dataclass(slots=True)
class _Rest:
    """A road that is set aside.

    :param until: when it may be tried again.
    :param failures: how often it has failed since it was well.
    :param probed: whether a letter tries it at this moment.
    """

    until: float
    failures: int = 1
    probed: bool = False


class Rests:
    """The roads that are set aside, by name. All that share it spare each other's failures."""

    def __init__(self) -> None:
        self._rests: dict[str, _Rest] = {}

    def order(self, names: Iterable[str], now: float) -> list[str]:
        """Those that are well or due to be tried, then those that are set aside."""
        return sorted(names, key=lambda name: self._is_aside(name, now))

    def _is_aside(self, name: str, now: float) -> bool:
        rest = self._rests.get(name)
        return rest is not None and now < rest.until

    def begin(self, name: str, now: float) -> None:
        """A letter tries that one now; if that was due, others leave it alone meanwhile."""
        rest = self._rests.get(name)
        if rest is not None and now >= rest.until:
            rest.until, rest.probed = now + FIRST, True

    def failed(self, name: str, outcome: Outcome, now: float) -> float:
        """It failed.

        :returns: the seconds for which it is set aside; 0 where it was already.
        """
        rest = self._rests.get(name)
        if rest is not None and now < rest.until and not rest.probed:
            return 0.0
        failures = 1 if rest is None else rest.failures + 1
        seconds = min(FIRST * 2.0 ** min(failures - 1, 10), MOST)
        if outcome.scope is Scope.ACCOUNT:
            seconds = MOST
        seconds = max(seconds, min(outcome.retry_after or 0.0, _MOST_ASKED))
        self._rests[name] = _Rest(now + seconds, failures)
        return seconds

    def well(self, name: str) -> bool:
        """It did what a road is to do.

        :returns: whether it had been set aside.
        """
        return self._rests.pop(name, None) is not None
