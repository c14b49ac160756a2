"""The relay: tells a task queue of what is due in the outbox that its tasks may not know of.

That is what is tried again, what was to be sent later, and what a broker has lost or never got. Of several relays one
passes on at a time, and another one once it shows no sign of life. It also keeps the outbox, as a worker does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from ..errors import OutboxError
from ..ledger.claims import Lane
from ..ledger.store import Store
from ..ledger.tasks import TaskLedger
from ..rules.relaying import LaneMemory, to_tell
from .housekeeping import Housekeeping
from .loop import ThreadQueue
from .settings import WorkerSettings
from .tenure import RELAY, Tenure

logger = logging.getLogger("flask_outbox")

#: Told of ids that are due, and of their priority. Raises whatever it likes where the broker does not take them.
Publish = Callable[[Sequence[str], int], object]

#: How many deliveries of a lane are looked at, and so may be with the broker by our telling.
HEAD = 1_000

#: How many letters a task names at most.
GROUP = 100

#: Heartbeats without which a relay counts as dead.
_SILENT = 3

#: Seconds between tries while the broker takes nothing.
_PAUSES = (1.0, 2.0, 5.0, 10.0)


class Relay:
    """Passes on, for one outbox. Made and run inside one event loop, once.

    :param store: its own, for it is a worker of the outbox.
    :param patience: seconds after which what was told counts as lost (``MAIL_RELAY_PATIENCE``).
    """

    def __init__(
        self, store: Store, publish: Publish, settings: WorkerSettings, *, patience: float
    ) -> None:
        self._store = store
        self._ledger = TaskLedger(store)
        self._publish = publish
        self._settings = settings
        self._patience = patience
        self._tenure = Tenure(store, role=RELAY)
        self._me = ""
        self._beaten = 0.0  # by ``time.monotonic``
        self._memory: defaultdict[tuple[str, int], LaneMemory] = defaultdict(LaneMemory)
        self._failed = 0
        self._said = ""
        self._going = True
        self._wake = asyncio.Event()
        self._sql = ThreadQueue("flask-outbox-relay")
        self._broker = ThreadQueue("flask-outbox-broker")
        self._housekeeping = Housekeeping(store, self._sql, settings, lambda: self.draining)
        #: Whether it is the one that passes on.
        self.draining = False
        #: When it last looked around, by ``time.monotonic``.
        self.last_tick = time.monotonic()
        #: Set when it begins to pass on or to stand by, meets trouble, or is told to stop; cleared by who looks.
        self.changed = asyncio.Event()

    def stop(self) -> None:
        """Pass on no more; from another thread by ``loop.call_soon_threadsafe``."""
        self._going = False
        self._wake.set()
        self.changed.set()

    @property
    def ending(self) -> bool:
        """Whether it was told to stop."""
        return not self._going

    async def run(self) -> None:
        """Pass on until told to stop."""
        keeping = asyncio.create_task(self._housekeeping.run())
        try:
            while self._going:
                self.last_tick = time.monotonic()
                pause = await self.look()
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._end()

    async def once(self) -> None:
        """Pass on what is to be passed on now, if no other relay does."""
        try:
            await self.look()
        finally:
            await self._end()

    async def look(self) -> float:
        """Pass on what is to be passed on now.

        :returns: seconds until the next look.
        """
        try:
            if not await self._sql.run(self._leads):
                self._say("another relay passes on what is due; this one stands by")
                return self._settings.poll
            told = await self._sql.run(self._due)
        except OutboxError as error:
            self._say(f"the relay cannot use the outbox and tries again: {error}", logging.ERROR)
            return self._settings.poll
        try:
            for priority, ids in told:
                await self._broker.run(self._publish, ids, priority)
        except Exception as error:
            # Whatever the client of a broker raises: nothing is lost, it is all told again.
            self._memory.clear()
            self._say(f"the broker takes nothing, the mail waits: {error!r}", logging.ERROR)
            self._failed += 1
            return _PAUSES[min(self._failed, len(_PAUSES)) - 1]
        self._failed = 0
        if told:
            count = sum(len(ids) for _, ids in told)
            logger.debug("%d letter(s) are passed on to the task queue", count)
        self._say("this relay passes on what is due")
        return self._settings.poll

    def _leads(self) -> bool:
        """Show a sign of life, and see whether it is this one that passes on."""
        now = time.monotonic()
        if not self._me or now - self._beaten >= self._settings.heartbeat:
            self._beat()
            self._beaten = now
        since = self._store.now() - _SILENT * self._settings.heartbeat
        living = self._ledger.relays(since)
        if self._me not in living:
            self._me = ""  # taken for dead: a machine that slept, a clock that was set
        leads = living[:1] == [self._me]
        if leads != self.draining:
            self.draining = leads
            self._memory.clear()
            self.changed.set()
        return leads

    def _beat(self) -> None:
        store = self._store
        store.set_clock()
        if not self._me:
            self._me = self._tenure.begin()
            return
        store.beat(store.now())
        store.rescue_dead(store.now())
        store.batches.tidy(store.now())

    def _due(self) -> list[tuple[int, list[str]]]:
        """What is to be passed on, in groups, each with its priority; urgent ones first."""
        now = self._store.now()
        lanes = self._store.agenda(now)
        found: list[tuple[int, list[str]]] = []
        for lane in sorted(lanes, key=lambda lane: (lane.priority, lane.lane)):
            letters = self._of_lane(lane, now)
            found += [
                (lane.priority, letters[start : start + GROUP])
                for start in range(0, len(letters), GROUP)
            ]
        for gone in self._memory.keys() - {(lane.lane, lane.priority) for lane in lanes}:
            del self._memory[gone]
        return found

    def _of_lane(self, lane: Lane, now: float) -> list[str]:
        memory = self._memory[lane.lane, lane.priority]
        if lane.paused:
            memory.closed = now
            return []
        if lane.due > now:
            return []
        head = self._ledger.head(lane.lane, lane.priority, now, HEAD)
        chosen = to_tell(head, memory, now=now, patience=self._patience)
        return [one.letter_id for one in chosen]

    async def _end(self) -> None:
        self.draining = False
        try:
            await self._sql.run(self._tenure.end)
        except OutboxError as error:
            logger.warning("other relays learn of the end of this one later: %s", error)
        self._broker.stop(_PAUSES[0])
        self._sql.stop()

    def _say(self, text: str, level: int = logging.INFO) -> None:
        """Log it, but not at every look."""
        if text != self._said:
            self._said = text
            self.changed.set()
            logger.log(level, text)
