"""The recorder: keeps results until they are committed, many in one transaction, and tells the watchers after."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from ..ledger.claims import Ended
from ..rules.limits import Streak
from .courier import Watcher
from .loop import ThreadQueue
from .telling import tell

if TYPE_CHECKING:
    from ..ledger.store import Finished, Shift, Store

logger = logging.getLogger("flask_outbox")

#: Results that may wait for their commit, besides one content on its way a connection; none leaves beyond that.
UNRECORDED = 20

#: Seconds that a result waits for others to be committed with, and how many are enough.
_GATHER = 0.002
_ENOUGH = UNRECORDED // 2

#: Seconds that the end waits for watchers: what they do is not ours, and must not keep a process alive.
PATIENCE = 5.0

#: Seconds between tries while the database does not take the results.
_PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0)


class Recorder:
    """Writes results down.

    :param sql: the thread that all SQL of the worker runs on.
    :param watchers: called after the commit, on a thread of their own.
    :param context: entered around the watchers: an application context.
    """

    def __init__(
        self,
        store: Store,
        sql: ThreadQueue,
        watchers: Sequence[Watcher],
        context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._store = store
        self._sql = sql
        self._watchers = watchers
        self._context = context
        self._waiting: list[Finished] = []
        self._unrecorded = 0
        self._exposed: set[int] = set()
        self._shifts: deque[Shift] = deque()
        self._arrived = asyncio.Event()
        self._committed = asyncio.Event()
        self._telling = ThreadQueue("flask-outbox-watch")

    def put(self, result: Finished) -> None:
        """Take a result over."""
        self._waiting.append(result)
        self._unrecorded += 1
        self._arrived.set()

    async def expose(self, delivery_id: int, connections: int) -> None:
        """Wait until a content may leave: what a kill would repeat is what has left and is not committed.

        It counts from here on and not from its reply, which others may learn of before this does. One that had left
        before, in vain, counts already: it must not wait for others that may wait for it.

        :param connections: of the transport it leaves by.
        """
        while delivery_id not in self._exposed and len(self._exposed) >= UNRECORDED + connections:
            self._committed.clear()
            await self._committed.wait()
        self._exposed.add(delivery_id)

    def cover(self, delivery_id: int) -> None:
        """The content has not left after all, or nobody waits for its end any more."""
        self._exposed.discard(delivery_id)
        self._committed.set()

    @property
    def idle(self) -> bool:
        """Whether everything is committed."""
        return not self._unrecorded

    async def empty(self) -> None:
        """Wait until everything is committed."""
        while self._unrecorded:
            self._committed.clear()
            await self._committed.wait()

    async def run(
        self,
        recorded: Callable[[Sequence[Finished]], None],
        shifted: Callable[[Shift], None],
    ) -> None:
        """Commit what arrives, for ever.

        :param recorded: told which results are in the database, or have lost their lease.
        :param shifted: told of each breaker that they have opened or closed.
        """
        while True:
            await self._arrived.wait()
            if len(self._waiting) < _ENOUGH:
                await asyncio.sleep(_GATHER)
            # By a call that ends: while it waits for more, nothing of what was recorded stays in memory.
            await self._record(recorded, shifted)

    async def _record(
        self,
        recorded: Callable[[Sequence[Finished]], None],
        shifted: Callable[[Shift], None],
    ) -> None:
        batch, self._waiting = self._waiting[:UNRECORDED], self._waiting[UNRECORDED:]
        if not self._waiting:
            self._arrived.clear()
        written = await self._commit(batch)
        self._unrecorded -= len(batch)
        self._exposed.difference_update(result.claim.delivery_id for result in batch)
        self._committed.set()
        recorded(batch)
        shifts = [self._shifts.popleft() for _ in range(len(self._shifts))]
        for shift in shifts:
            shifted(shift)
        self.tell(_told([one for one in batch if one.claim.delivery_id in written], shifts))

    def tell(self, ended: Sequence[Ended]) -> None:
        """Let the watchers hear of what is committed; from any thread."""
        if self._watchers and ended:
            self._telling.submit(tell, self._watchers, self._context, ended)

    def close(self) -> None:
        """Let the watchers hear of everything, then end their thread; one that hangs is not waited for."""
        if not self._telling.stop(PATIENCE):
            logger.error(
                "a receiver of signals did not come back, and the end does not wait for it"
            )

    async def _commit(self, batch: Sequence[Finished]) -> set[int]:
        tries = 0
        while True:
            try:
                return await self._sql.run(self._write, batch)
            except Exception:
                # Whatever it is (disk full, database away, a bug), dropping a result would repeat its mail.
                logger.exception("%d results wait: the outbox did not take them", len(batch))
                await asyncio.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
                tries += 1

    def _write(self, batch: Sequence[Finished]) -> set[int]:
        for result in batch:
            if result.plan.pause:
                self._store.pause(result.report.transport, result.plan.pause, by="worker")
        return self._store.finish(batch, self._store.now(), self._shifts.append)


def _told(results: Sequence[Finished], shifts: Iterable[Shift]) -> list[Ended]:
    """What the watchers hear: of a breaker that has opened, with the last try that failed over its transport."""
    opened = {shift.transport: shift.failures for shift in shifts if shift.until is not None}
    plans = [result.plan for result in results]
    for number, result in reversed([*enumerate(results)]) if opened else ():
        transport = result.claim.transport
        if transport in opened and Streak().then(result.report).failures:
            first = next(str(outcome) for _, outcome in result.report)
            reason = f"breaker: {opened.pop(transport)} tries in a row failed, the last: {first}"
            plans[number] = replace(plans[number], pause=reason)
    return [
        Ended(result.claim.letter, result.report, plan)
        for result, plan in zip(results, plans, strict=True)
    ]
