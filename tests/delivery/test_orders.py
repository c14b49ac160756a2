"""What a worker's signals mean. Each test sends them to its own process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flask_outbox.delivery.orders import Orders


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def hear(
    *signals: int, now: Callable[[int], object] | None = lambda number: None
) -> tuple[list[str], Orders]:
    """What is called, and how it ended."""
    called: list[str] = []

    async def go() -> Orders:
        with Orders(lambda: called.append("end"), lambda: called.append("again"), now) as heard:
            for number in signals:
                os.kill(os.getpid(), number)
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        return heard

    return called, asyncio.run(go())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_for_the_end(number: int) -> None:
    called, orders = hear(number)
    assert (called, orders.ended, orders.renewed) == (["end"], True, False)


def test_the_second_one_means_now() -> None:
    numbers: list[int] = []
    hear(signal.SIGTERM, signal.SIGINT, now=numbers.append)
    assert numbers == [signal.SIGINT]


def test_where_nothing_means_now_the_end_may_be_asked_for_again() -> None:
    called, _ = hear(signal.SIGTERM, signal.SIGTERM, now=None)
    assert called == ["end", "end"]


def test_an_end_that_is_asked_for_amid_a_reload_is_an_end() -> None:
    called, orders = hear(signal.SIGHUP, signal.SIGTERM)
    assert (called, orders.renewed) == (["again", "end"], False)


def test_a_reload_that_is_asked_for_amid_the_end_is_nothing() -> None:
    called, orders = hear(signal.SIGTERM, signal.SIGHUP)
    assert (called, orders.renewed) == (["end"], False)


def test_a_hang_up_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert hear(signal.SIGHUP)[0] == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_comes_between_two_beginnings_is_heard_by_the_second() -> None:
    assert hear(signal.SIGHUP)[1].renewed
    os.kill(os.getpid(), signal.SIGTERM)
    assert hear()[0] == ["end"]


_PROGRAM = """
import atexit, os, pathlib
from flask_outbox.delivery.orders import begin_anew
atexit.register(print, "exit function")
print(os.getpid(), os.environ.get("FROM_A_FILE"))
marker = pathlib.Path("marker")
if not marker.exists():
    marker.touch()
    os.environ["FROM_A_FILE"] = "as it was then"
    begin_anew()
"""


def test_a_new_beginning_has_the_same_id_the_first_environment_and_an_exit_before(
    tmp_path: Path,
) -> None:
    (tmp_path / "program.py").write_text(_PROGRAM)
    child = subprocess.Popen(
        [sys.executable, "program.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    printed, _ = child.communicate(timeout=60)
    if not Path("/proc/self/environ").exists():  # elsewhere the system does not tell
        printed = printed.replace("as it was then", "None")
    assert printed.splitlines() == [f"{child.pid} None", "exit function"] * 2
