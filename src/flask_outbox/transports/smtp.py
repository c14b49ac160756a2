"""SMTP as a transport: a pool of connections to one server, opened as they are needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ..mail.content import Composed
from ..mail.letter import Letter
from ..mail.mime import composed
from ..rules.outcomes import Outcome, Report
from .base import Clearance, Transport
from .smtp_connection import Connection
from .smtp_job import Job
from .smtp_opening import Opener
from .smtp_queue import Queue
from .smtp_settings import SmtpSettings

__all__ = ["SmtpSettings", "SmtpTransport"]

#: Seconds without a new connection after one failed while others stand: many servers allow only so
#: many from one client.
_CONTENT_WITH_LESS = 30.0

#: Seconds for what is in flight when the transport is closed, and for what had to be dropped.
_CLOSING = 5.0
_ABORTING = 1.0


class SmtpTransport(Transport):
    """A pool of connections to one server. Letters wait in one queue; who takes them says :mod:`.smtp_queue`.

    :param compose: makes a letter's bytes, the same at every try; one of :mod:`flask_outbox.mail.dkim` signs them.
    :param clock: seconds, for the age of connections.
    """

    def __init__(
        self,
        settings: SmtpSettings,
        *,
        compose: Callable[[Letter], Composed] = composed,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue: Queue[Connection] = Queue(settings.pool_size)
        #: One letter on each connection and one behind it.
        self.concurrency = 2 * settings.pool_size
        self.kept = 2 * self._queue.kept
        self.connections = settings.pool_size
        self._settings = settings
        self._compose = compose
        self._clock = clock
        self._opener = Opener(settings, clock)
        self._idle: list[Connection] = []
        self._roomy: set[Connection] = set()
        self._connections: set[Connection] = set()
        self._tasks: dict[asyncio.Task[None], Connection] = {}
        self._no_more_until = clock()
        self._closing = False

    async def deliver(self, letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        """Try once; see :meth:`.Transport.deliver`."""
        if self._closing or not to:
            return Report()
        job = Job(letter, to, clearance, self._compose)
        self._queue.add(job)
        if not (self._rouse() or self._grow()):
            self._send_behind()
        return await job.report

    async def aclose(self) -> None:
        """Finish what is in flight and take leave, in a few seconds."""
        self._closing = True
        for job in self._queue.empty():
            job.withdraw()
        for connection in self._tasks.values():
            connection.stop()
            if connection in self._connections and not connection.ready:
                connection.abort()  # nothing is in flight on a connection that is being opened
        await self._ended(_CLOSING)
        for connection in self._tasks.values():
            connection.abort()
        await self._ended(_ABORTING)
        for task in self._tasks:
            task.cancel()
        await self._ended(None)

    async def _ended(self, seconds: float | None) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    # -- finding a connection for a letter -----------------------------------------------------

    def _rouse(self) -> bool:
        """Wake a connection that has nothing to do and may take a letter that waits; True when there is one."""
        # The one that was used last, so that the others may end.
        if self._idle and self._queue.has_for(self._idle[-1]):
            self._idle.pop().wake()
            return True
        return False

    def _grow(self) -> bool:
        """Open a connection for each letter that could be on one, up to the pool's size; True when some open."""
        room = self._settings.pool_size - len(self._connections)
        worth = self._queue.worth if room and not self._closing else 0
        if not worth or (self._connections and self._clock() < self._no_more_until):
            return False
        opening = sum(connection.opening for connection in self._connections)
        for _ in range(min(worth - opening, room)):
            self._open()
        return True

    def _send_behind(self) -> None:
        """Send the envelope of the next letter behind a content that is under way, where it may."""
        for connection in self._queue.behind(self._roomy) if self._roomy else ():
            self._roomy.discard(connection)
            if connection.take_ahead():
                return

    def _open(self, first: Job | None = None) -> None:
        connection = Connection(self._settings, self._opener, self, self._clock, first)
        if first is not None:
            self._queue.given(connection, first)
        task = asyncio.create_task(connection.run())
        self._connections.add(connection)
        self._tasks[task] = connection
        task.add_done_callback(self._tasks.pop)

    # -- what connections ask, see smtp_connection.Pool ----------------------------------------

    def has_for(self, connection: Connection) -> bool:
        """Whether a letter waits that the connection may take once its own is done."""
        return self._queue.has_for(connection)

    def take(self, connection: Connection, before: Job | None = None) -> Job | None:
        """The next letter for the connection; see :meth:`.Pool.take`."""
        return self._queue.take(connection, before)

    def put_back(self, job: Job) -> None:
        """A letter that goes on in another transaction, before all others."""
        if self._closing:
            job.withdraw()
        else:
            self._queue.put_back(job)

    def rest(self, connection: Connection) -> None:
        """The connection has nothing to do: wake it when there is."""
        self._queue.free(connection)
        if connection not in self._idle:
            self._idle.append(connection)

    def has_room(self, connection: Connection) -> None:
        """The connection is busy with a content and could take another envelope along."""
        self._roomy.add(connection)

    def closed(self, connection: Connection, failure: Outcome | None, again: Job | None) -> None:
        """The connection takes no more letters; see :meth:`.Pool.closed`."""
        self._connections.discard(connection)
        self._roomy.discard(connection)
        self._queue.free(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if again is not None:
            again.retried = True
            self._open(again)
        if failure is not None and self._connections:
            self._no_more_until = self._clock() + _CONTENT_WITH_LESS
        elif failure is not None:
            for job in self._queue.empty():
                connection.note_opening(job)
                job.finish(failure)
        if not self._rouse():
            self._grow()
