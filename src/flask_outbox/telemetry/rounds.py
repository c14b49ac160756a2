"""Who looks at a worker every few seconds, and at whose request: systemd, a file, an HTTP request."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from ..delivery.loop import ThreadQueue
from ..errors import OutboxError
from .health import DRAINING, ENDING, STANDING_BY, Health

if TYPE_CHECKING:
    from ..delivery.worker import Worker
    from ..ledger.reports import Brief

#: Seconds between two looks.
PULSE = 5.0

#: Seconds that the ledger may take to answer.
_PATIENCE = 5.0

#: Seconds for which a look is good enough for the next one who asks.
_FRESH = 1.0

Look = Callable[[], Awaitable[Health]]


class Examiner:
    """Looks at one worker, on its loop.

    :param read: reads the ledger; called on a thread of its own, which may get stuck in it.
    """

    def __init__(self, worker: Worker, read: Callable[[float], Brief]) -> None:
        self._worker = worker
        self._read = read
        self._thread: ThreadQueue | None = None
        self._last: Health | None = None
        self._looking = asyncio.Lock()

    async def look(self) -> Health:
        """How it fares, or fared a moment ago: for those who ask as often as they like."""
        async with self._looking:
            if self._last is None or time.time() - self._last.time >= _FRESH:
                self._last = await self.examine()
            return self._last

    async def examine(self) -> Health:
        """How it fares."""
        now, worker = time.time(), self._worker
        oldest_due, paused, complaint = None, {}, ""
        if self._thread is None:
            self._thread = ThreadQueue("flask-outbox-health")
        try:
            async with asyncio.timeout(_PATIENCE):
                brief = await self._thread.run(self._read, now)
            oldest_due, paused = brief.oldest_due, dict(brief.paused)
        except TimeoutError:
            complaint = f"no answer within {_PATIENCE:g} s"
        except OutboxError as error:
            complaint = str(error)
        state = ENDING if worker.ending else DRAINING if worker.draining else STANDING_BY
        tick = time.monotonic() - worker.last_tick
        return Health(state, os.getpid(), time.time(), tick, complaint, oldest_due, paused)


async def rounds(
    look: Look,
    sinks: Sequence[Callable[[Health], object]],
    changed: asyncio.Event,
    seconds: float = PULSE,
) -> None:
    """Look when something has changed, from then on also after so many seconds, and show it to each; for ever."""
    await changed.wait()
    while True:
        changed.clear()
        health = await look()
        for sink in sinks:
            sink(health)
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            continue
