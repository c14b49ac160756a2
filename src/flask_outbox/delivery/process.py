"""What one process of an application runs for its mail: a loop thread, a courier, and maybe a worker on them.

Nothing starts before it is needed: the loop at the first letter that is sent from here, the worker at the first
request or the first send. After a fork the child finds nothing started and starts its own. When the interpreter
exits, a process that served requests lets what is being sent finish; one that did not (a script, a cron job, a
shell) drains what is due first.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING
from weakref import WeakSet

from ..mail.letter import Letter
from ..rules.outcomes import Report
from .courier import Courier, TransportFactory, Unconditional
from .loop import LoopThread
from .threads import ThreadSends

if TYPE_CHECKING:
    from .worker import Worker

logger = logging.getLogger("flask_outbox")

#: Seconds without a sign of life after which the worker thread counts as stuck.
STALE = 10.0

#: Seconds by which the end of a worker may exceed its drain timeout: recording, giving back, closing.
_GRACE = 5.0

WorkerFactory = Callable[[Courier], "Worker"]


class Process:
    """The running side of one application in one process.

    :param make_worker: called inside the loop; None where no worker runs in this process.
    :param drain_timeout: seconds that the exit may wait for mail.
    :param left: how many letters would be left for another worker; asked after a drain that ran out of time.
    """

    def __init__(
        self,
        make_transports: TransportFactory,
        make_worker: WorkerFactory | None,
        drain_timeout: float,
        left: Callable[[], int] | None = None,
    ) -> None:
        self._make_transports = make_transports
        self._make_worker = make_worker
        self._drain_timeout = drain_timeout
        self._left = left
        self._loop = LoopThread()
        self._forget()
        _processes.add(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._courier = Courier(self._make_transports)
        self._worker: Worker | None = None
        self._working: Future[None] | None = None
        self._exit_registered = False
        self.sends: ThreadSends = ThreadSends()
        #: Whether this process has served a request; a script has not.
        self.serves = False

    def carry(self, letter: Letter, to: tuple[str, ...], transport: str) -> Report:
        """Send now and wait for the answer; called from any thread but the loop's."""
        self._register_exit()
        return self._loop.spawn(
            self._courier.carry(letter, to, transport, Unconditional())
        ).result()

    def ensure_worker(self) -> None:
        """Start the worker if this process is to have one and none runs."""
        if self._make_worker is None or self._works():
            return
        with self._lock:
            if not self._works():
                self._register_exit()
                self._working = self._loop.spawn(self._work(self._make_worker))

    def _works(self) -> bool:
        return self._working is not None and not self._working.done()

    def stuck(self) -> bool:
        """Whether the worker was started and has shown no sign of life for :data:`STALE` seconds."""
        worker = self._worker
        return worker is not None and time.monotonic() - worker.last_tick > STALE

    def close(self) -> None:
        """Finish or hand over what is in hand, and end the threads."""
        if self._working is not None:
            self._end_worker(self._working)
        if self._loop.running:
            try:
                self._loop.spawn(self._courier.aclose()).result(_GRACE)
            except TimeoutError:
                logger.warning("a transport did not close within %d seconds", _GRACE)
            self._loop.stop()
        self._worker = self._working = None

    def _end_worker(self, working: Future[None]) -> None:
        if not self.serves:
            self._tell(lambda worker: worker.finish())
            _done(working, self._drain_timeout)
        self._tell(lambda worker: worker.stop())
        if not _done(working, 2 * self._drain_timeout + _GRACE):
            logger.error("the worker thread did not end; its leases run out by themselves")
        if not self.serves and self._left is not None and (left := self._left()):
            logger.warning(
                "%d letter(s) are left in the outbox; 'flask mail worker' or the next process of the"
                " application sends them",
                left,
            )

    def _tell(self, action: Callable[[Worker], None]) -> None:
        async def told() -> None:
            # On the loop, behind its start: there the worker is made, or it has failed.
            if self._worker is not None:
                action(self._worker)

        self._loop.spawn(told()).result(_GRACE)

    async def _work(self, make_worker: WorkerFactory) -> None:
        self._worker = make_worker(self._courier)
        try:
            await self._worker.run()
        except Exception:
            logger.exception("the worker thread failed; the next start of the application goes on")
            raise

    def _register_exit(self) -> None:
        if not self._exit_registered:
            self._exit_registered = True
            atexit.register(self.close)


def _done(working: Future[None], timeout: float) -> bool:
    try:
        working.exception(timeout)
    except TimeoutError:
        return False
    return True


_processes: WeakSet[Process] = WeakSet()


def _forget_all() -> None:
    for process in list(_processes):
        process._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
