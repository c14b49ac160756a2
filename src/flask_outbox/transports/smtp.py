"""SMTP as a transport: a pool of connections to one server, opened as they are needed."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from ..mail.letter import Letter
from ..mail.mime import compose
from ..rules.outcomes import Outcome, Report
from .base import Clearance, Transport
from .smtp_connection import Connection
from .smtp_job import Job
from .smtp_opening import Opener
from .smtp_settings import SmtpSettings

__all__ = ["SmtpSettings", "SmtpTransport"]

#: Seconds without a new connection after one failed while others stand: many servers allow only so
#: many from one client.
_CONTENT_WITH_LESS = 30.0

#: Seconds for what is in flight when the transport is closed, and for what had to be dropped.
_CLOSING = 5.0
_ABORTING = 1.0


class SmtpTransport(Transport):
    """A pool of connections to one server. Letters wait in one queue, connections take from it.

    :param compose: makes a letter's bytes, the same at every try; one of :mod:`flask_outbox.mail.dkim` signs them.
    :param clock: seconds, for the age of connections.
    """

    def __init__(
        self,
        settings: SmtpSettings,
        *,
        compose: Callable[[Letter], bytes] = compose,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        #: One letter on each connection and one behind it.
        self.concurrency = 2 * settings.pool_size
        self.connections = settings.pool_size
        self._settings = settings
        self._compose = compose
        self._clock = clock
        self._opener = Opener(settings)
        self._waiting: deque[Job] = deque()
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
        self._waiting.append(job)
        if self._idle:
            # The one that was used last, so that the others may end.
            self._idle.pop().wake()
        elif not self._grow():
            while self._roomy and not self._roomy.pop().take_ahead():
                pass
        return await job.report

    async def aclose(self) -> None:
        """Finish what is in flight and take leave, in a few seconds."""
        self._closing = True
        while self._waiting:
            self._waiting.popleft().withdraw()
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

    # -- growing -----------------------------------------------------------------------------

    def _grow(self) -> bool:
        """Open a connection for each letter that waits, up to the pool's size; True when some open."""
        room = self._settings.pool_size - len(self._connections)
        if not room or not self._waiting or self._closing:
            return False
        if self._connections and self._clock() < self._no_more_until:
            return False
        opening = sum(not connection.ready for connection in self._connections)
        for _ in range(min(len(self._waiting) - opening, room)):
            self._open()
        return True

    def _open(self, first: Job | None = None) -> None:
        connection = Connection(self._settings, self._opener, self, self._clock, first)
        task = asyncio.create_task(connection.run())
        self._connections.add(connection)
        self._tasks[task] = connection
        task.add_done_callback(self._tasks.pop)

    # -- what connections ask, see smtp_connection.Pool ----------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether a letter waits."""
        return bool(self._waiting)

    def take(self) -> Job | None:
        """The next letter that is wanted."""
        while self._waiting:
            job = self._waiting.popleft()
            if job.wanted:
                return job
            job.withdraw()
        return None

    def put_back(self, job: Job) -> None:
        """A letter that goes on in another transaction, before all others."""
        if self._closing:
            job.withdraw()
        else:
            self._waiting.appendleft(job)

    def rest(self, connection: Connection) -> None:
        """The connection has nothing to do: wake it when there is."""
        if connection not in self._idle:
            self._idle.append(connection)

    def has_room(self, connection: Connection) -> None:
        """The connection is busy with a content and could take another envelope along."""
        self._roomy.add(connection)

    def closed(self, connection: Connection, failure: Outcome | None, again: Job | None) -> None:
        """The connection takes no more letters; see :meth:`.Pool.closed`."""
        self._connections.discard(connection)
        self._roomy.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if again is not None:
            again.retried = True
            self._open(again)
        if failure is not None and self._connections:
            self._no_more_until = self._clock() + _CONTENT_WITH_LESS
        elif failure is not None:
            while self._waiting:
                self._waiting.popleft().finish(failure)
        self._grow()
