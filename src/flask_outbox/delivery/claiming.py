"""One look at the lanes: what is claimed of them. Runs on the thread that all SQL of a worker runs on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ledger.claims import Ended
from ..ledger.store import Claim, Store
from .hand import Room

#: One look in so many begins with the lower priorities, so that none of them starves.
FAIR = 10


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
        :returns: the claims, and when the next of what is not due yet is due.
        """
        now = self._store.now()
        claims: list[Claim] = []
        next_due = float("inf")
        lanes = sorted(self._store.agenda(now), key=lambda lane: (lane.priority, lane.due))
        self._looks += 1
        if self._looks % FAIR == 0:
            lanes.reverse()
        for lane in lanes:
            if lane.paused:
                continue
            if lane.due > now:
                next_due = min(next_due, lane.due)
                continue
            if not room.offered(lane.transport, lane.priority):
                continue
            most = int(min(room.of(lane.transport, lane.priority), allowance - len(claims)))
            if most < 1:
                break
            found = self._store.claim(
                lane.lane,
                lane.priority,
                most,
                now=now,
                lease=self._lease,
                budget=room.bytes,
                one_always=room.empty,
                tell=self._tell,
            )
            if not (found or room.empty):
                # Its first letter is too large for now. Smaller ones must not keep it waiting for ever.
                room.full = True
                break
            room.take(lane.transport, lane.priority, found)
            claims += found
        return claims, next_due
