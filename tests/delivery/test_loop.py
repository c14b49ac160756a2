"""The threads of a process."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace

import pytest

from flask_outbox.delivery.loop import Loop, LoopThread, ThreadQueue, new_loop


@pytest.fixture
def thread_queue() -> Iterator[ThreadQueue]:
    queue = ThreadQueue("test")
    yield queue
    queue.stop()


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    loop_thread = LoopThread()
    yield loop_thread
    loop_thread.stop()


def test_calls_run_in_order_on_one_thread(thread_queue: ThreadQueue) -> None:
    names = [thread_queue.submit(threading.get_ident) for _ in range(5)]
    assert len({name.result(5) for name in names}) == 1


def test_an_exception_belongs_to_the_caller_and_the_thread_goes_on(
    thread_queue: ThreadQueue,
) -> None:
    failed = thread_queue.submit(int, "x")
    with pytest.raises(ValueError, match="invalid literal"):
        failed.result(5)
    assert thread_queue.submit(int, "7").result(5) == 7


def test_stopping_does_what_is_queued_first() -> None:
    queue, done = ThreadQueue("test"), []
    for number in range(10):
        queue.submit(done.append, number)
    queue.stop()
    assert done == list(range(10))


def test_a_loop_is_uvloops_where_that_is_installed() -> None:
    uvloop = pytest.importorskip("uvloop")
    loop = new_loop()
    loop.close()
    assert isinstance(loop, uvloop.Loop)


@pytest.mark.parametrize("fast", [None, SimpleNamespace(new_event_loop=lambda: 1 / 0)])
def test_without_uvloop_or_with_patched_sockets_it_is_ours(
    fast: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    class GreenSocket(socket.socket):
        """As gevent's stands in the place of Python's."""

    monkeypatch.setattr("flask_outbox.delivery.loop.uvloop", fast)
    if fast:
        monkeypatch.setattr(socket, "socket", GreenSocket)
    loop = new_loop()
    loop.close()
    assert type(loop) is Loop


def test_a_loop_thread_starts_no_thread_before_it_is_used() -> None:
    before = threading.active_count()
    LoopThread()
    assert threading.active_count() == before


def test_a_loop_thread_can_be_used_again_after_it_was_stopped(loop_thread: LoopThread) -> None:
    assert loop_thread.spawn(_answer()).result(5) == 42
    loop_thread.stop()
    assert not loop_thread.running
    assert loop_thread.spawn(_answer()).result(5) == 42


def test_stopping_cancels_what_still_runs(loop_thread: LoopThread) -> None:
    started = threading.Event()

    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    running = loop_thread.spawn(endless())
    assert started.wait(5)
    loop_thread.stop()
    assert running.cancelled()


def test_what_runs_on_the_loop_does_not_see_the_context_of_who_started_it(
    loop_thread: LoopThread,
) -> None:
    request = ContextVar("request", default="none")

    async def seen() -> str:
        return request.get()

    request.set("the first one")
    assert loop_thread.spawn(seen()).result(5) == "none"


def test_names_are_looked_up_on_a_thread_of_the_loop() -> None:
    with asyncio.Runner(loop_factory=Loop) as runner:
        found = runner.run(_look_up("127.0.0.1"))
    assert found[0][4] == ("127.0.0.1", 25)


async def _answer() -> int:
    return 42


async def _look_up(host: str) -> list[tuple[object, ...]]:
    loop = asyncio.get_running_loop()
    return list(await loop.getaddrinfo(host, 25, type=socket.SOCK_STREAM))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_finds_the_loop_stopped_and_starts_its_own() -> None:
    code = """
import os
from flask_outbox.delivery.loop import LoopThread
async def answer(): return 42
loop_thread = LoopThread()
assert loop_thread.spawn(answer()).result(5) == 42
child = os.fork()
if child == 0:
    os._exit(0 if not loop_thread.running and loop_thread.spawn(answer()).result(5) == 42 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert loop_thread.spawn(answer()).result(5) == 42
"""
    _run(code)


def test_the_loop_still_looks_names_up_while_the_interpreter_exits() -> None:
    code = """
import atexit
from flask_outbox.delivery.loop import LoopThread
import asyncio
loop_thread = LoopThread()
async def look_up(): return await asyncio.get_running_loop().getaddrinfo("localhost", 25)
async def nothing(): pass
loop_thread.spawn(nothing()).result(5)
atexit.register(lambda: print(bool(loop_thread.spawn(look_up()).result(5))))
"""
    assert _run(code) == "True\n"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")
def test_a_look_up_starts_no_threads_that_python_does_not_know() -> None:
    """libuv's would crash a process forked meanwhile, at its end."""
    code = """
import asyncio, os, threading
from flask_outbox.delivery.loop import new_loop
loop = new_loop()
loop.run_until_complete(loop.getaddrinfo("localhost", 25))
print(len(os.listdir("/proc/self/task")) - threading.active_count())
loop.close()
"""
    assert _run(code) == "0\n"


def _run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
