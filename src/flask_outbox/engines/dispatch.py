"""Tells a task queue of letters that were stored, without making anyone wait for its broker.

A thread of its own puts the tasks on the queue. A single letter is told of at once, and what comes soon after together,
so that a flood makes few tasks: they cost more than a letter. While the broker takes nothing, some are kept and tried
again with the next letter; what is lost here, or with this process, the relay tells.
"""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import wait

from ..delivery.native import here, native
from ..delivery.process import DISPATCH, Process
from ..delivery.relay import GROUP
from .task_queue import TaskQueue

logger = logging.getLogger("flask_outbox")

#: How many letters are kept while the broker takes nothing.
KEPT = 10_000

#: Seconds that a sender waits for the broker where its process may end at once.
HASTE = 0.2

#: Seconds between two tries while it takes nothing.
PAUSE = 1.0


class Dispatcher:
    """Puts tasks on one queue."""

    def __init__(self, process: Process, queue: TaskQueue) -> None:
        self._process = process
        self._queue = queue
        self._here = here()
        self._pid = os.getpid()
        # Appending and popping are safe between threads, and need no lock that a fork could leave taken.
        self._waiting: deque[tuple[int, str]] = deque(maxlen=KEPT)
        self._not_before = 0.0  # by ``time.monotonic``
        self._last = 0.0
        self._failing = False

    def put(self, ids: Iterable[str], priority: int) -> None:
        """Tell of letters, soon; waits for nothing, unless the process may end at once."""
        if self._pid != os.getpid():
            # The parent tells of what it has stored.
            self._pid = os.getpid()
            self._waiting.clear()
        self._waiting.extend((priority, id) for id in ids)
        thread, ends_soon = self._process.thread(DISPATCH), self._queue.ends_soon()
        flushed = thread.submit(self._flush, 0.0 if ends_soon else self._queue.gather)
        if ends_soon:
            wait([flushed], HASTE)

    def publish(self, ids: Sequence[str], priority: int) -> None:
        """Put a task on the queue, and wait for that; from any thread."""
        self._here(self._queue.publish, ids, priority)

    def _flush(self, gather: float) -> None:
        """Put what waits on the queue; on the thread of its own.

        :param gather: seconds between two tasks, in which letters come together.
        """
        while self._waiting and time.monotonic() >= self._not_before:
            if (soon := self._last + gather - time.monotonic()) > 0:
                native("time", "sleep")(soon)
            self._last = time.monotonic()
            taken = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
            by_priority: defaultdict[int, list[str]] = defaultdict(list)
            for priority, id in taken:
                by_priority[priority].append(id)
            for priority, ids in sorted(by_priority.items()):
                self._publish(ids, priority)

    def _publish(self, ids: Sequence[str], priority: int) -> None:
        try:
            self.publish(ids, priority)
        except Exception as error:
            # Whatever the client of a broker raises; the letters are stored.
            self._waiting.extendleft((priority, id) for id in reversed(ids))
            self._not_before = time.monotonic() + PAUSE
            if not self._failing:
                self._failing = True
                logger.error(
                    "the broker of %s takes no task, the mail waits in the outbox: %r",
                    self._queue.name,
                    error,
                )
            return
        if self._failing:
            self._failing = False
            logger.warning("the broker of %s takes tasks again", self._queue.name)
