"""What a worker has in hand: letters that are being sent, and behind them those claimed ahead, urgent ones first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush

from ..ledger.store import Claim
from .carriage import Carriage
from .pace import Speed

#: Seconds of work that are claimed ahead, and how many letters at most: a claim of many costs little more than one
#: of a few, and a slow server gets none of it, so that an urgent letter never waits behind much.
AHEAD = 0.05
MOST_AHEAD = 20


class Hand:
    """The letters of one worker, by transport.

    :param concurrency: how many a transport can take at once.
    :param clock: seconds.
    """

    def __init__(self, concurrency: Callable[[str], int], clock: Callable[[], float]) -> None:
        self._concurrency = concurrency
        self._clock = clock
        self._all: dict[int, Carriage] = {}
        self._carrying: Counter[str] = Counter()
        self._ahead: defaultdict[str, list[tuple[int, int, Carriage]]] = defaultdict(list)
        self._speed = Speed(clock())

    def __len__(self) -> int:
        return len(self._all)

    @property
    def carriages(self) -> Mapping[int, Carriage]:
        """All of it, by delivery."""
        return dict(self._all)

    @property
    def claims(self) -> list[Claim]:
        """All of it, to be given back or extended."""
        return [carriage.claim for carriage in self._all.values()]

    def room(self, transport: str) -> int:
        """Letters worth claiming for a transport: none until half of what it takes is free again."""
        ahead = min(MOST_AHEAD, int(AHEAD * self._speed.per_second(self._clock())))
        most = self._concurrency(transport) + ahead
        free = most - self._carrying[transport] - len(self._ahead[transport])
        return free if free * 2 >= most else 0

    def take(self, carriage: Carriage) -> None:
        """One more, claimed."""
        claim = carriage.claim
        self._all[claim.delivery_id] = carriage
        heappush(self._ahead[claim.transport], (claim.priority, claim.delivery_id, carriage))

    def next(self, transport: str) -> Carriage | None:
        """The next one to be sent now, if the transport can take one."""
        ahead = self._ahead[transport]
        if not ahead or self._carrying[transport] >= self._concurrency(transport):
            return None
        self._carrying[transport] += 1
        return heappop(ahead)[2]

    def carried(self, transport: str) -> None:
        """One was tried."""
        self._carrying[transport] -= 1
        self._speed.count()

    def unstarted(self, transport: str) -> list[Claim]:
        """Those claimed ahead, which are not started any more."""
        return [carriage.claim for _, _, carriage in self._ahead.pop(transport, [])]

    def start_nothing(self) -> None:
        """Those claimed ahead stay in hand and are not started any more."""
        self._ahead.clear()

    def drop(self, claims: Sequence[Claim]) -> None:
        """These are over, or somebody else's again."""
        for claim in claims:
            self._all.pop(claim.delivery_id, None)

    def clear(self) -> None:
        """Nothing is in hand."""
        self._all.clear()
