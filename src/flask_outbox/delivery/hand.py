"""What a worker has in hand: letters that are being sent, and behind them those claimed ahead, urgent ones first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf
from typing import NamedTuple

from ..ledger.clock import boot_clock
from ..ledger.store import Claim
from ..transports.dsn import is_url
from .carriage import URGENT, Carriage
from .pace import Speed

#: Seconds of work that are claimed ahead, and how many letters at most: a claim of many costs little more than one
#: of a few, and a slow server gets none of it, so that an urgent letter never waits behind much.
AHEAD = 0.05
MOST_AHEAD = 20

#: Seconds between two looks at the lanes while there is room for urgent letters only.
_GLANCE = 0.02


class Share(NamedTuple):
    """How many letters there is room for on one transport.

    :param urgent: if all of them are urgent.
    :param others: if none is; never more.
    """

    urgent: int
    others: int

    def of(self, priority: int) -> int:
        """If all of them are of that priority."""
        return self.urgent if priority == URGENT else self.others

    def less(self, count: int, priority: int) -> Share:
        """What is left after so many of that priority."""
        others = self.others - (0 if priority == URGENT else count)
        return Share(self.urgent - count, min(others, self.urgent - count))


class Room:
    """How many letters there is room for, at one look at the lanes.

    :param known: by transport.
    :param spare: how many more transports that letters bring along may be begun with.
    :param report_unknown: whether one letter for a name that is not known is worth claiming, so that it is reported.
    :param bytes: that there is room for.
    :param empty: whether there is room for one letter of any size.
    """

    def __init__(
        self, known: dict[str, Share], *, spare: int, report_unknown: bool, bytes: int, empty: bool
    ) -> None:
        self._known = known
        self.spare = spare
        self.bytes = bytes
        self.empty = empty
        #: Whether there was too little for something that is due: of letters, or of bytes.
        self.short = False
        self.full = bytes <= 0 and not empty
        self._report_unknown = report_unknown
        #: When it was looked at what is in hand, by :func:`boot_clock`.
        self.since = boot_clock()

    def interval(self, poll: float) -> float:
        """Seconds between two looks, that not each ring may cause one which promises little.

        :param poll: between two looks when nobody rings.
        """
        if self.full:
            return inf
        if any(share.others > 0 for share in self._known.values()):
            return 0.0
        if any(share.urgent > 0 for share in self._known.values()):
            return _GLANCE
        # One that letters bring along may be wanted beside those that are full.
        return poll if self.spare else inf

    def of(self, transport: str, priority: int) -> int:
        """How many of that priority for that transport: a single one until it is there."""
        return self._share(transport).of(priority)

    def _share(self, transport: str) -> Share:
        if transport in self._known:
            return self._known[transport]
        one = int(self.spare > 0 if is_url(transport) else self._report_unknown)
        return Share(one, one)

    def offered(self, transport: str, priority: int) -> bool:
        """Whether there is any for that one, for which something is due."""
        if self.of(transport, priority) > 0:
            return True
        self.short = self.short or transport in self._known or is_url(transport)
        return False

    def take(self, transport: str, priority: int, claims: Sequence[Claim]) -> None:
        """Those were claimed."""
        left = self._share(transport).less(len(claims), priority)
        if claims and transport not in self._known and is_url(transport):
            self.spare -= 1
        self._known[transport] = left
        self.bytes -= sum(claim.letter.size for claim in claims)
        self.empty = self.empty and not claims


@dataclass(eq=False, slots=True)
class _Line:
    """What is in hand for one transport.

    :param ahead: those claimed ahead, by priority and age.
    :param carrying: how many are being sent.
    :param bulk: how many of those are not urgent.
    :param urgent: how many of all are.
    """

    ahead: list[tuple[int, int, Carriage]] = field(default_factory=list)
    carrying: int = 0
    bulk: int = 0
    urgent: int = 0

    def __len__(self) -> int:
        return self.carrying + len(self.ahead)

    def leave_out(self, former: Carriage) -> None:
        """Do not start this one, if it was not."""
        rest = [one for one in self.ahead if one[2] is not former]
        if len(rest) < len(self.ahead):
            self.ahead = rest
            heapify(self.ahead)
            self.urgent -= former.claim.priority == URGENT

    def cut(self) -> list[Carriage]:
        """Take away those claimed ahead."""
        cut, self.ahead = [carriage for *_, carriage in self.ahead], []
        self.urgent -= sum(carriage.claim.priority == URGENT for carriage in cut)
        return cut


class Hand:
    """The letters of one worker, by transport.

    :param concurrency: how many a transport can take at once.
    :param kept: how many of those only urgent ones may be.
    :param clock: seconds.
    """

    def __init__(
        self,
        concurrency: Callable[[str], int],
        kept: Callable[[str], int],
        clock: Callable[[], float],
    ) -> None:
        self._concurrency = concurrency
        self._kept = kept
        self._clock = clock
        self._all: dict[int, Carriage] = {}
        self._lines: defaultdict[str, _Line] = defaultdict(_Line)
        self._speed = Speed(clock())
        #: Bytes of the letters, as they are being sent and until their results are recorded.
        self.size = 0

    def __len__(self) -> int:
        return len(self._all)

    @property
    def carriages(self) -> Mapping[int, Carriage]:
        """All of it, by delivery."""
        return dict(self._all)

    @property
    def transports(self) -> set[str]:
        """Those that it is for."""
        return set(self._lines)

    @property
    def claims(self) -> list[Claim]:
        """All of it, to be given back or extended."""
        return [carriage.claim for carriage in self._all.values()]

    def room(self, transport: str) -> Share:
        """Letters worth claiming for a transport: none until half of what it takes is free again.

        But urgent ones always find what is kept for them.
        """
        ahead = min(MOST_AHEAD, int(AHEAD * self._speed.per_second(self._clock())))
        most, kept = self._concurrency(transport) + ahead, self._kept(transport)
        line = self._lines.get(transport) or _Line()
        free = most - len(line)
        others = _worth(min(free, most - kept - (len(line) - line.urgent)), most - kept)
        return Share(max(others, _worth(free, most), min(free, kept - line.urgent)), others)

    def take(self, carriage: Carriage) -> None:
        """One more, claimed; also one whose lease was lost, and that somebody has given back since."""
        claim = carriage.claim
        if (former := self._all.get(claim.delivery_id)) is not None:
            former.lose()
            self._lines[former.claim.transport].leave_out(former)
            self.drop([former.claim])
        self._all[claim.delivery_id] = carriage
        self.size += claim.letter.size
        line = self._lines[claim.transport]
        line.urgent += claim.priority == URGENT
        heappush(line.ahead, (claim.priority, claim.delivery_id, carriage))

    def next(self, transport: str) -> Carriage | None:
        """The next one to be sent now, if the transport can take one."""
        line, most = self._lines.get(transport), self._concurrency(transport)
        if line is None or not line.ahead or line.carrying >= most:
            return None
        is_bulk = line.ahead[0][0] != URGENT
        if is_bulk and line.bulk >= most - self._kept(transport):
            return None
        line.carrying += 1
        line.bulk += is_bulk
        return heappop(line.ahead)[2]

    def carried(self, claim: Claim) -> None:
        """One was tried."""
        line, is_urgent = self._lines[claim.transport], claim.priority == URGENT
        line.carrying -= 1
        line.bulk -= not is_urgent
        line.urgent -= is_urgent
        self._forget(claim.transport)
        self._speed.count()

    def unstarted(self, transport: str) -> list[Claim]:
        """Those claimed ahead, which are not started any more."""
        cut = self._lines[transport].cut()
        self._forget(transport)
        return [carriage.claim for carriage in cut]

    def start_nothing(self) -> None:
        """Those claimed ahead stay in hand and are not started any more."""
        for transport in list(self._lines):
            self.unstarted(transport)

    def drop(self, claims: Sequence[Claim]) -> None:
        """These are over, or somebody else's again."""
        for claim in claims:
            held = self._all.get(claim.delivery_id)
            if held is not None and held.claim.token == claim.token:
                del self._all[claim.delivery_id]
                self.size -= claim.letter.size

    def clear(self) -> None:
        """Nothing is in hand."""
        self._all.clear()
        self.size = 0

    def _forget(self, transport: str) -> None:
        """Letters may bring any number of transports along."""
        if not len(self._lines[transport]):
            del self._lines[transport]


def _worth(free: int, most: int) -> int:
    """What there is room for, where that is half of it at least."""
    return free if free * 2 >= most else 0
