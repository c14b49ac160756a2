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
        #: When the leases in hand were extended last, or there were none.
        self._renewed = boot_clock()

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
        """Before anything is claimed: what is in hand must not look as if it were free.

        It may, where the wall clock was set, by which the leases in a file end; and where they could not be extended
        for long, as the database was away or this process was stopped. Some of it may be sent, and not yet recorded.

        :raises OutboxError: the leases could not be extended.
        """
        moved = self._clock.moved()
        if moved and self._store.path is not None:
            logger.warning(
                "the clock was set %s by %.0f s: retries and what was to be sent later move with it",
                "forward" if moved > 0 else "back",
                abs(moved),
            )
            await self._renew()
            await self._sql.run(self._store.bring_forward, self._store.now())
        elif self._hand and boot_clock() - self._renewed > self._settings.lease / 2:
            await self._renew()

    async def _renew(self) -> None:
        carriages, now = self._hand.carriages, boot_clock()
        deadline = now + self._settings.lease
        ours = await self._sql.run(self._extend, self._hand.claims)
        self._renewed = now
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
        if self._store.path is None:  # a file has one drainer, who has looked as it became that
            self._store.rescue_dead(now)
        return self._store.extend(claims, now + self._settings.lease) if claims else set()
