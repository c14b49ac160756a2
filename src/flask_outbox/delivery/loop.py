"""The threads a process has: one event loop, and long-lived threads that take work from a queue.

No ThreadPoolExecutor anywhere: it refuses work once the interpreter begins to exit, which is just when a script
drains its mail. Name look-ups, which asyncio gives to such a pool, therefore have a thread of their own here.

Threads do not survive a fork. Whoever holds a :class:`LoopThread` may use it on both sides of one: the child finds
it stopped and starts its own.
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context
from typing import Any, TypeVar
from weakref import WeakSet

from .native import FOREVER, native, start_thread

try:
    import uvloop  # type: ignore[import-not-found,unused-ignore]  # optional
except ImportError:
    uvloop = None  # type: ignore[assignment,unused-ignore]

T = TypeVar("T")
U = TypeVar("U")
_Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


def following(future: Future[T], make: Callable[[T], U]) -> Future[U]:
    """What a function makes of the result of another future. Whoever awaits it may give up, and stops nothing."""
    then: Future[U] = Future()
    then.set_running_or_notify_cancel()

    def done(first: Future[T]) -> None:
        try:
            then.set_result(make(first.result()))
        except BaseException as error:  # it belongs to whoever awaits the future
            then.set_exception(error)

    future.add_done_callback(done)
    return then


class ThreadQueue:
    """One long-lived thread that runs what it is given, one thing after the other.

    :param name: the thread's name, for a person who looks at a dump.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = native("queue", "SimpleQueue")()
        self._ended = False
        self._join = start_thread(self._work, name)

    def submit(self, function: Callable[..., T], *args: object) -> Future[T]:
        """Queue a call; its result or exception comes with the future."""
        future: Future[T] = Future()
        self._jobs.put((future, function, args))
        return future

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Queue a call and await its result without blocking the loop."""
        return await asyncio.wrap_future(self.submit(function, *args))

    def stop(self, timeout: float = FOREVER) -> bool:
        """Let the thread end once it has done what is queued, and wait for that.

        :param timeout: seconds, where what it does is not ours.
        :returns: whether it has ended.
        """
        self._jobs.put(None)
        self._join(timeout)
        return self._ended

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function, args = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function(*args))
            except BaseException as error:  # it belongs to whoever awaits the future
                future.set_exception(error)
            del job, future, function, args
        self._ended = True


class _Looking:
    """An event loop's name look-ups, which have a thread of their own, started with it.

    uvloop's as well: libuv's own threads crash a process that was forked while they were there, at its end.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self._resolver = ThreadQueue("flask-outbox-dns")

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        """As :meth:`asyncio.loop.getaddrinfo`."""
        look_up = native("socket", "getaddrinfo")
        return await self._resolver.run(lambda: look_up(host, port, **hints))

    def close(self) -> None:
        """As :meth:`asyncio.loop.close`; a look-up under way is not waited for."""
        self._resolver._jobs.put(None)
        super().close()  # type: ignore[misc]  # the loop's


class Loop(_Looking, asyncio.SelectorEventLoop):
    """Python's event loop."""

    def __init__(self) -> None:
        super().__init__(native("selectors", "DefaultSelector")())


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop: uvloop's where that is installed, as it takes less of the CPU."""
    # Where gevent or eventlet have patched the sockets, only a loop of Python's keeps to that.
    if uvloop is None or socket.socket.__module__ != "socket":
        return Loop()
    loop: asyncio.AbstractEventLoop = type("UvLoop", (_Looking, uvloop.Loop), {})()
    return loop


class LoopThread:
    """The event loop of a process, in a daemon thread that is started at first use."""

    def __init__(self) -> None:
        self._forget()
        _loop_threads.add(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._join: Callable[[float], object] = lambda _: None

    @property
    def running(self) -> bool:
        return self._loop is not None

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop; for any other thread."""
        # In an empty context: the caller's holds its request, which must end when it has its answer.
        return Context().run(self._spawn, coroutine)

    def _spawn(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        with self._lock:
            return asyncio.run_coroutine_threadsafe(coroutine, self._started())

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function on the loop, and wait for nothing; for any other thread."""
        with self._lock:
            self._started().call_soon_threadsafe(function, *args, context=Context())

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = loop = new_loop()
            self._join = start_thread(lambda: self._run(loop), "flask-outbox-loop")
        return self._loop

    def stop(self) -> None:
        """End the loop; what still runs on it is cancelled."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._join(FOREVER)

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            loop.close()


_loop_threads: WeakSet[LoopThread] = WeakSet()


def _forget_all() -> None:
    for loop_thread in list(_loop_threads):
        loop_thread._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
