"""One look at the lanes: what is claimed of them. Runs on the thread that all SQL of a worker runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf

from ..ledger.claims import Ended, Lane
from ..ledger.clock import boot_clock
from ..ledger.store import Claim, Store
from .hand import Room

#: Of so many looks each lower priority comes first in one, so that none of them starves.
FAIR = 10

#: Seconds that pass between two steps of a worker where nothing is wrong, at most.
_PROMPT = 1.0

#: Seconds within which a lane that is closed opens soon: who drains once waits for it.
_SOON = 5.0


class Claimer:
    """Claims what there is room for.

    :param lease: seconds.
    :param tell: told of those that ended instead of being claimed.
    """

    def __init__(self, store: Store, lease: float, tell: Callable[[Sequence[Ended]], None]) -> None:
        self._store = store
        self._lease = lease
        self._tell = tell
        self._looks = 0

    def claim(self, room: Room, allowance: float) -> tuple[list[Claim], float]:
        """Look, and claim.

        :param allowance: how many letters at most.
        :returns: the claims, and when the next of what is not due yet, or not open, is.
        """
        # The worker's own leases ran when it looked at what it has, but may have ended since where this had to wait for
        # the database: then it is a look as of that moment.
        waited = boot_clock() - room.since
        now = self._store.now() - (waited if waited > _PROMPT else 0.0)
        claims: list[Claim] = []
        lanes = self._store.agenda(now)
        # When lanes open that have something due which there is room for.
        opening = [
            lane.opens
            for lane in lanes
            if lane.opens is not None
            and lane.due <= now
            and room.of(lane.transport, lane.priority) > 0
        ]
        for lane in self._in_turn(lanes, now):
            if not room.offered(lane.transport, lane.priority):
                continue
            most = int(min(room.of(lane.transport, lane.priority), allowance - len(claims)))
            if most < 1:
                break
            closed = len(opening)
            found = self._store.claim(
                lane.lane,
                lane.priority,
                most,
                now=now,
                lease=self._lease,
                begin=lane.due,
                budget=room.bytes,
                one_always=room.empty,
                tell=self._tell,
                shut=opening.append,
            )
            if not (found or len(opening) > closed or room.empty):
                # Its first letter is too large for now. Smaller ones must not keep it waiting for ever.
                room.full = True
                break
            room.take(lane.transport, lane.priority, found)
            claims += found
        room.short = room.short or any(opens <= now + _SOON for opens in opening)
        later = [lane.due for lane in lanes if lane.due > now and not lane.paused]
        return claims, min([*opening, *later], default=inf)

    def _in_turn(self, lanes: Iterable[Lane], now: float) -> list[Lane]:
        """Those with something to claim, in the order of this look."""
        due = [lane for lane in lanes if lane.due <= now and not lane.paused]
        due.sort(key=lambda lane: (lane.priority, lane.due))
        self._looks += 1
        turn = FAIR - 1 - self._looks % FAIR
        lower = sorted({lane.priority for lane in due})[1:]
        if turn < len(lower):
            due.sort(key=lambda lane: lane.priority != lower[turn])
        return due
