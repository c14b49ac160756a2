"""What one process of an application runs for its mail: a loop thread, a courier, what it keeps in memory, and maybe
a worker.

Nothing starts before it is needed: the loop at the first letter that is sent from here, the worker at the first
request or the first send. After a fork the child finds nothing started and starts its own. When the interpreter
exits, a process that served requests lets what is being sent finish; one that did not (a script, a cron job, a
shell) drains what is due first. What is only in memory is drained in any case.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakSet

from ..errors import OutboxError
from ..mail.letter import Letter
from ..rules.outcomes import Kind, Outcome, Report, Scope
from .courier import Courier, Unconditional
from .loop import LoopThread, ThreadQueue
from .native import FOREVER
from .threads import ThreadSends

if TYPE_CHECKING:
    from .asked import Asked
    from .backlog import Backlog
    from .worker import Worker

T = TypeVar("T")

logger = logging.getLogger("flask_outbox")

#: Seconds without a sign of life after which the worker thread counts as stuck.
STALE = 10.0

#: The thread that stores for callers who must not wait, and the one that watchers are called on.
STORE, WATCH = "flask-outbox-store", "flask-outbox-watch"

#: The thread that tells a task queue's broker of what is stored.
DISPATCH = "flask-outbox-dispatch"

#: Seconds by which the end of a worker may exceed its drain timeout: recording, giving back, closing.
_GRACE = 5.0

#: The threads that may hang: how long the end waits for them, and what it says then.
_HANGING = {
    WATCH: (_GRACE, "a receiver of signals did not come back"),
    DISPATCH: (_GRACE, "a broker did not take a task; the relay tells it again"),
}

WorkerFactory = Callable[[Courier], "Worker"]
TaskWorkerFactory = Callable[[], tuple["Asked", WorkerFactory]]
BacklogFactory = Callable[["Process", Courier], "Backlog"]


class Companion(Protocol):
    """What may run beside, on the loop."""

    async def run(self) -> None:
        """Run until told to stop."""
        ...

    def stop(self) -> None:
        """Let it end; called on the loop."""
        ...


class Process:
    """The running side of one application in one process.

    :param make_worker: called inside the loop; None where no worker runs in this process.
    :param drain_timeout: seconds that the exit may wait for mail.
    :param left: how many letters would be left for another worker; asked after a drain that ran out of time.
    :param make_task_worker: gives what tasks of a queue ask, and what makes the worker for it; in place of the other.
    :param make_backlog: called when the first letter is to be kept in memory; None where none ever is.
    """

    def __init__(
        self,
        make_courier: Callable[[], Courier],
        make_worker: WorkerFactory | None,
        drain_timeout: float,
        left: Callable[[], int] | None = None,
        make_backlog: BacklogFactory | None = None,
        make_task_worker: TaskWorkerFactory | None = None,
    ) -> None:
        self._make_courier = make_courier
        self._make_worker = make_worker
        self._drain_timeout = drain_timeout
        self._left = left
        self._make_backlog = make_backlog
        self._make_task_worker = make_task_worker
        self._loop = LoopThread()
        self._forget()
        _processes.add(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._courier = self._make_courier()
        self._worker: Worker | None = None
        self._working: Future[None] | None = None
        self._asked: Asked | None = None
        self._companion: tuple[Companion, Future[None]] | None = None
        self._exit_registered = False
        self._closed = False
        self._carrying: set[Future[Any]] = set()
        self._threads: dict[str, ThreadQueue] = {}
        self._backlog: Backlog | None = None
        self.sends: ThreadSends = ThreadSends()
        #: Whether this process has served a request; a script has not.
        self.serves = False

    def carry(self, letter: Letter, to: tuple[str, ...], transport: str, url: str = "") -> Report:
        """Send now and wait for the answer; called from any thread but the loop's."""
        try:
            return self.spawn(self.carry_async(letter, to, transport, url)).result(FOREVER)
        except CancelledError:
            text = "the process ended its mail before the server answered"
            return Report.of(to, Outcome(Kind.UNKNOWN, Scope.TRANSPORT, text=text))

    async def carry_async(
        self, letter: Letter, to: tuple[str, ...], transport: str, url: str = ""
    ) -> Report:
        """Send now; on the loop."""
        return await self._courier.carry(letter, to, transport, Unconditional(), url)

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop; the end waits for it as long as it may."""
        self._register_exit()
        running = self._loop.spawn(coroutine)
        self._carrying.add(running)
        running.add_done_callback(self._carrying.discard)
        return running

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function on the loop, and wait for nothing."""
        self._register_exit()
        self._loop.call(function, *args)

    def thread(self, name: str) -> ThreadQueue:
        """The thread of that name. What it is given, it does before the end."""
        with self._lock:
            self._register_exit()
            if name not in self._threads:
                self._threads[name] = ThreadQueue(name)
            return self._threads[name]

    @property
    def backlog(self) -> Backlog:
        """What is kept in memory.

        :raises RuntimeError: nothing ever is.
        """
        with self._lock:
            if self._backlog is None:
                if self._make_backlog is None:
                    raise RuntimeError("This process keeps no letters in memory.")
                self._backlog = self._make_backlog(self, self._courier)
            return self._backlog

    def ensure_worker(self) -> None:
        """Start the worker if this process is to have one and none runs."""
        if self._make_worker is None or self._works():
            return
        with self._lock:
            # A send that began under settings that were replaced since leaves its letter to the next worker.
            if not self._works() and not self._closed:
                self._register_exit()
                self._working = self._loop.spawn(self._work(self._make_worker))

    def deliver(self, letters: Sequence[str]) -> Mapping[str, str]:
        """Have letters of the outbox carried that are due, and wait until they are.

        :returns: for each id the state in which it was left.
        :raises RuntimeError: no task queue is to say so here.
        """
        return self._ask(letters).result(FOREVER)

    def _ask(self, letters: Sequence[str]) -> Future[Mapping[str, str]]:
        make_task_worker = self._make_task_worker
        if make_task_worker is None:
            raise RuntimeError("This process has no worker that tasks could ask.")
        with self._lock:
            if self._asked is None or not self._works():
                self._register_exit()
                self._asked, make_worker = make_task_worker()
                # It drains nothing at the end: what else there is, is for others.
                self.serves = True
                self._working = self._loop.spawn(self._work(make_worker, self._asked.close))
            return self._asked.ask(letters)

    def accompany(self, make: Callable[[], Companion]) -> None:
        """Run something beside, until the end of the process; only the first one.

        :param make: called on the loop.
        """

        async def made() -> Companion:
            return make()

        with self._lock:
            if self._companion is None and not self._closed:
                self._register_exit()
                companion = self._loop.spawn(made()).result(_GRACE)
                self._companion = companion, self._loop.spawn(companion.run())

    def _works(self) -> bool:
        return self._working is not None and not self._working.done()

    def stuck(self) -> bool:
        """Whether the worker was started and has shown no sign of life for :data:`STALE` seconds."""
        worker = self._worker
        return worker is not None and time.monotonic() - worker.last_tick > STALE

    def close(self) -> None:
        """Finish or hand over what is in hand, and end the threads."""
        self._end_thread(STORE)
        with self._lock:
            self._closed = True
        self._end_thread(DISPATCH)
        self._end_backlog()
        if self._companion is not None:
            companion, running = self._companion
            self._loop.call(companion.stop)
            if not _done(running, _GRACE):
                logger.error(
                    "the relay did not end; others take over when it shows no sign of life"
                )
        if self._working is not None:
            self._end_worker(self._working)
        wait(self._carrying.copy(), self._drain_timeout)
        self._end_thread(WATCH)
        self._end_backlog()  # the watchers may have sent more
        if self._loop.running:
            try:
                self._loop.spawn(self._courier.aclose()).result(_GRACE)
            except TimeoutError:
                logger.warning("a transport did not close within %d seconds", _GRACE)
            self._loop.stop()
        self._end_thread(WATCH)
        self._worker = self._working = self._companion = None
        self._exit_registered = False
        atexit.unregister(self.close)

    def _end_thread(self, name: str) -> None:
        with self._lock:
            thread = self._threads.pop(name, None)
        # What is stored is ours, and ends; who watches may hang, and so may a broker.
        if thread is not None and not thread.stop(_HANGING.get(name, (FOREVER, ""))[0]):
            logger.error("%s, and the end does not wait for it", _HANGING[name][1])

    def _end_backlog(self) -> None:
        if self._backlog is not None:
            self._backlog.close(self._drain_timeout)

    def _end_worker(self, working: Future[None]) -> None:
        if not self.serves:
            self._tell(lambda worker: worker.finish())
            _done(working, self._drain_timeout)
        self._tell(lambda worker: worker.stop())
        if not _done(working, 2 * self._drain_timeout + _GRACE):
            logger.error("the worker thread did not end; its leases run out by themselves")
        if not self.serves and self._left is not None:
            self._say_what_is_left(self._left)

    @staticmethod
    def _say_what_is_left(left: Callable[[], int]) -> None:
        try:
            count = left()
        except OutboxError as error:
            logger.error("nobody can say what is left in the outbox: %s", error)
            return
        if count:
            logger.warning(
                "%d letter(s) are left in the outbox; 'flask mail worker' or the next process of the"
                " application sends them",
                count,
            )

    def _tell(self, action: Callable[[Worker], None]) -> None:
        async def told() -> None:
            # On the loop, behind its start: there the worker is made, or it has failed.
            if self._worker is not None:
                action(self._worker)

        self._loop.spawn(told()).result(_GRACE)

    async def _work(
        self, make_worker: WorkerFactory, at_end: Callable[[], object] = lambda: None
    ) -> None:
        try:
            self._worker = make_worker(self._courier)
            await self._worker.run()
        except Exception:
            logger.exception("the worker thread failed; the next start of the application goes on")
            raise
        finally:
            at_end()

    def _register_exit(self) -> None:
        if not self._exit_registered:
            self._exit_registered = True
            atexit.register(self.close)
            util = sys.modules.get("multiprocessing.util")
            if util is not None and sys.modules["multiprocessing.process"].parent_process():
                # A forked child of multiprocessing leaves without calling what atexit has.
                util.Finalize(None, self.close, exitpriority=0)


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
