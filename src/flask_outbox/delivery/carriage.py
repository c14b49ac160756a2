"""A claimed delivery in the hands of a worker: the clearance that its transport asks for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from math import inf
from typing import TYPE_CHECKING

from ..ledger.clock import boot_clock
from ..rules.retry import AT_MOST_ONCE

if TYPE_CHECKING:
    from ..ledger.store import Claim
    from .recorder import Recorder

#: The priority of letters that go before all others.
URGENT = 0

#: Seconds before the end of a lease from which on it no longer counts: the clocks of two machines differ.
MARGIN = 2.0


class WallClock:
    """Notices that the clock was set, by which leases and due times are kept."""

    def __init__(self) -> None:
        self._offset = time.time() - boot_clock()

    def moved(self) -> float:
        """By how many seconds since it was asked last; 0 where that is nothing to speak of."""
        offset = time.time() - boot_clock()
        moved = offset - self._offset
        if abs(moved) < 1.0:
            return 0.0
        self._offset = offset
        return moved


class Carriage:
    """One claim on its way.

    :param deadline: when the lease ends, by :func:`boot_clock`.
    :param going: whether the worker still starts letters; False once it was told to stop.
    :param recorder: says when a content may leave.
    :param connections: of the transport it leaves by.
    :param mark: records that the content is about to leave; False when the lease is lost.
    """

    def __init__(
        self,
        claim: Claim,
        *,
        deadline: float,
        going: Callable[[], bool],
        recorder: Recorder,
        connections: int,
        mark: Callable[[Claim], Awaitable[bool]],
    ) -> None:
        self.claim = claim
        self.deadline = deadline
        self.started = time.time()
        self.urgent = claim.priority == URGENT
        self._going = going
        self._recorder = recorder
        self._connections = connections
        self._mark = mark
        # It expires by the clock of the outbox, which may not be this machine's; so does its lease.
        late = inf if claim.expires is None else claim.expires - claim.lease_until
        self._expires = deadline + late

    def lose(self) -> None:
        """The lease is no longer ours: nothing more may leave."""
        self.deadline = 0.0

    def valid(self) -> bool:
        """Whether the envelope may still be written."""
        return self._going() and self._leased() and boot_clock() < self._expires

    async def content(self) -> bool:
        """Whether the content may leave, once few enough others have left without their result being committed."""
        delivery_id = self.claim.delivery_id
        await self._recorder.expose(delivery_id, self._connections)
        if self._leased() and (
            self.claim.guarantee != AT_MOST_ONCE or await self._mark(self.claim)
        ):
            return True
        self.lose()
        self._recorder.cover(delivery_id)
        return False

    def _leased(self) -> bool:
        return boot_clock() < self.deadline - MARGIN
