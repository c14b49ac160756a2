"""The housekeeping of a worker: what is over goes, between what it has to send."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..errors import OutboxError
from .loop import ThreadQueue
from .settings import WorkerSettings

if TYPE_CHECKING:
    from ..ledger.retention import Swept
    from ..ledger.store import Store

logger = logging.getLogger("flask_outbox")

#: How long a step is followed by none, in times of what it took: at most a fifth of the SQL's time is taken.
_REST = 4


class Housekeeping:
    """Sweeps once in a while, step by step.

    :param draining: whether the worker is the drainer; others leave it to that one.
    """

    def __init__(
        self, store: Store, sql: ThreadQueue, settings: WorkerSettings, draining: Callable[[], bool]
    ) -> None:
        self._store = store
        self._sql = sql
        self._rule = settings.retention
        self._settle = settings.settle
        self._draining = draining

    async def run(self) -> None:
        """Sweep now and then, for ever."""
        while True:
            await asyncio.sleep(self._settle)
            if not self._draining():
                continue
            try:
                await self._sweep()
            except OutboxError as error:
                logger.error("what is over cannot be taken away, and is tried again: %s", error)
            except Exception:
                # A bug here must neither end the worker nor end this in silence.
                logger.exception("what is over cannot be taken away")
            await asyncio.sleep(self._rule.interval)

    async def _sweep(self) -> None:
        messages = bodies = 0
        steps = self._store.sweeps.routine(self._rule, self._store.now())
        while self._draining():
            began = time.monotonic()
            done = await self._sql.run(_next, steps)
            if done is None:
                break
            messages, bodies = messages + done.messages, bodies + done.bodies
            await asyncio.sleep(_REST * (time.monotonic() - began))
        if messages or bodies:
            logger.info(
                "retention: %d message(s) are deleted, and the contents of %d others",
                messages,
                bodies,
            )


def _next(steps: Iterator[Swept]) -> Swept | None:
    # StopIteration cannot be handed from thread to thread.
    return next(steps, None)
