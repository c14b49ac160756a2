"""Children that die, hang, cannot start or are replaced; each is a few lines of Python."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import pytest

from flask_outbox.delivery.supervisor import Patience, Supervisor
from servers.process import DEADLINE

QUICK = Patience(start=20.0, silence=20.0, settled=0.0)

#: It says that it works, and ends when it is told to or when its parent is gone.
WORKS = """
import os, signal, sys, socket
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
parent = socket.socket(fileno=int(sys.argv[-1]))
parent.sendall(f"{os.getpid()}\\n".encode())
parent.recv(1)
"""

ENDS = f"{WORKS}print('ended')\n"

HANGS = WORKS.replace("parent.recv(1)", "signal.pause()").replace("sys.exit(0)", "None")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.01)


def command(program: str) -> Sequence[str]:
    return [sys.executable, "-S", "-E", "-c", program]


def supervise(
    program: str,
    story: Callable[[Supervisor], Coroutine[object, object, None]],
    posts: int = 1,
    patience: Patience = QUICK,
) -> None:
    """Run a supervisor through a story; told to stop at its end, it must end."""

    async def go() -> None:
        supervisor = Supervisor(command(program), posts, patience=patience)
        running = asyncio.create_task(supervisor.run())
        try:
            await story(supervisor)
            supervisor.stop()
            await asyncio.wait_for(running, DEADLINE)
        finally:
            supervisor.kill()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(go())


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (1000, 60)]
)
def test_the_delay_grows_with_each_failure_to_start(failures: int, seconds: float) -> None:
    assert Patience().delay(failures) == seconds


def test_every_post_is_filled_and_ends_when_told_to() -> None:
    pids: list[int] = []

    async def story(supervisor: Supervisor) -> None:
        await supervisor.began.wait()
        pids.extend(post.pid for post in supervisor.posts)
        assert [int(post.said) for post in supervisor.posts] == pids

    supervise(WORKS, story, posts=2)
    assert [gone(pid) for pid in pids] == [True, True]


def test_a_child_that_dies_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    async def story(supervisor: Supervisor) -> None:
        await supervisor.began.wait()
        (post,) = supervisor.posts
        first = post.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: post.said != b"" and int(post.said) != first)

    supervise(WORKS, story)
    assert "was killed by SIGKILL; the next one starts in 0 s" in caplog.text


def test_one_that_dies_at_once_is_replaced_later_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(supervisor: Supervisor) -> None:
        await until(lambda: len(caplog.records) == 4)

    supervise("raise SystemExit(3)", story, patience=Patience(settled=60.0, first=0.01))
    delays = [record.getMessage().rpartition(" in ")[2] for record in caplog.records]
    assert delays[:4] == ["0.01 s", "0.02 s", "0.04 s", "0.08 s"]
    assert "ended with 3" in caplog.text


def test_one_that_says_nothing_any_more_is_killed_and_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(supervisor: Supervisor) -> None:
        await until(lambda: "was killed by SIGKILL" in caplog.text)

    supervise(HANGS, story, patience=Patience(silence=0.05, settled=0.0))
    assert "gives no sign of life and is killed" in caplog.text


def test_a_reload_ends_the_old_ones_when_each_of_the_new_ones_works() -> None:
    async def story(supervisor: Supervisor) -> None:
        await supervisor.began.wait()
        old = [post.pid for post in supervisor.posts]
        await supervisor.reload()
        new = [post.pid for post in supervisor.posts]
        assert not set(old) & set(new)
        assert [gone(pid) for pid in old + new] == [True, True, False, False]

    supervise(WORKS, story, posts=2)


def test_a_reload_that_cannot_start_leaves_the_old_ones_at_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "program.py"
    program.write_text(WORKS)

    async def story(supervisor: Supervisor) -> None:
        await supervisor.began.wait()
        old = [post.pid for post in supervisor.posts]
        program.write_text("raise SystemExit(1)")
        await supervisor.reload()
        assert [post.pid for post in supervisor.posts] == old
        assert not gone(old[0])

    supervise(f"exec(open({str(program)!r}).read())", story)
    assert "the former ones go on" in caplog.text


def test_an_end_amid_a_reload_ends_both_generations() -> None:
    async def story(supervisor: Supervisor) -> None:
        await supervisor.began.wait()
        reloading = asyncio.create_task(supervisor.reload())
        await asyncio.sleep(0)
        supervisor.stop()
        await asyncio.wait_for(reloading, DEADLINE)

    supervise(WORKS, story)


def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "note"
    parent = f"""
import asyncio
from flask_outbox.delivery.supervisor import Supervisor
async def go():
    supervisor = Supervisor({list(command(ENDS))!r}, 1)
    asyncio.create_task(supervisor.run())
    await supervisor.began.wait()
    print("began", flush=True)
    await asyncio.Event().wait()
with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner: runner.run(go())
"""

    async def go() -> None:
        with note.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", parent, stdout=output
            )
        await until(lambda: note.read_text() == "began\n")
        process.kill()
        await process.wait()
        await until(lambda: note.read_text() == "began\nended\n")

    asyncio.run(go())
