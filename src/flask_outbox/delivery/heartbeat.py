"""The heartbeat of a worker: it says that it lives, and its leases end later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ..errors import OutboxError
from ..ledger.clock import boot_clock
from ..ledger.store import Claim, Store
from .carriage import WallClock
from .hand import Hand
from .loop import ThreadQueue
from .settings import WorkerSettings

logger = logging.getLogger("flask_outbox")


class Heartbeat:
    """Beats every ``heartbeat`` seconds; of an idle worker with a poll, so that it is not woken for both."""

    def __init__(
        self, store: Store, sql: ThreadQueue, hand: Hand, settings: WorkerSettings
    ) -> None:
        self._store = store
        self._sql = sql
        self._hand = hand
        self._settings = settings
        self._clock = WallClock()
        self._due = asyncio.Event()
        self._next = 0.0  # by the loop's clock

    def tick(self) -> None:
        """The worker looks around: a beat that is due comes now."""
        if asyncio.get_running_loop().time() >= self._next:
            self._due.set()

    async def run(self) -> None:
        """Extend the leases in hand, for ever; what cannot be extended runs out and no content leaves for it."""
        while True:
            self._next = asyncio.get_running_loop().time() + self._settings.heartbeat
            self._due.clear()
            try:
                async with asyncio.timeout(self._settings.heartbeat + 2 * self._settings.poll):
                    await self._due.wait()
            except TimeoutError:
                pass  # it does not look around: a claim takes long
            try:
                await self._renew()
            except OutboxError as error:
                logger.error("the worker cannot extend its leases: %s", error)

    async def follow_clock(self) -> None:
        """Leases in a file end by the wall clock: where that was set, what is in hand must not look as if it were free.

        :raises OutboxError: the leases could not be extended.
        """
        moved = self._clock.moved()
        if not moved or self._store.path is None:
            return
        logger.warning(
            "the clock was set %s by %.0f s: retries and what was to be sent later move with it",
            "forward" if moved > 0 else "back",
            abs(moved),
        )
        await self._renew()
        await self._sql.run(self._store.bring_forward, self._store.now())

    async def _renew(self) -> None:
        carriages = self._hand.carriages
        deadline = boot_clock() + self._settings.lease
        ours = await self._sql.run(self._extend, self._hand.claims)
        for delivery_id, carriage in carriages.items():
            if delivery_id in ours:
                carriage.deadline = deadline
            else:
                carriage.lose()

    def _extend(self, claims: Sequence[Claim]) -> set[int]:
        self._store.set_clock()
        now = self._store.now()
        self._store.beat(now)
        self._store.batches.tidy(now)
        return self._store.extend(claims, now + self._settings.lease) if claims else set()
