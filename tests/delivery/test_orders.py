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
def _as_before() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [(number, signal.getsignal(number)) for number in numbers]
    yield
    for number, handler in before:
        signal.signal(number, handler)


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


def test_the_handlers_from_before_are_there_again() -> None:
    before = signal.getsignal(signal.SIGTERM)
    hear(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_end_that_is_asked_for_when_all_is_done_but_the_new_beginning_is_an_end() -> None:
    _, orders = hear(signal.SIGHUP)
    assert orders.renewed
    os.kill(os.getpid(), signal.SIGTERM)
    assert (orders.ended, orders.renewed) == (True, False)


_PROGRAM = """
import asyncio, atexit, os, pathlib, signal
from flask_outbox.delivery.orders import Orders, begin_anew

async def hear():
    with Orders(lambda: None, lambda: None) as orders:
        if first:
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0)
    return orders

first = not pathlib.Path("marker").exists()
pathlib.Path("marker").touch()
blocked = len(signal.pthread_sigmask(signal.SIG_BLOCK, []))
print(os.getpid(), os.environ.get("FROM_A_FILE"), blocked)
os.environ["FROM_A_FILE"] = "as it was then"
atexit.register(print, "exit function")
orders = asyncio.run(hear())
assert orders.renewed is first
if first:
    begin_anew(orders)
print(len(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
"""


def test_a_new_beginning_has_the_same_id_and_first_environment_and_misses_no_signal(
    tmp_path: Path,
) -> None:
    (tmp_path / "program.py").write_text(_PROGRAM)
    child = subprocess.Popen(
        [sys.executable, "program.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    printed, _ = child.communicate(timeout=60)
    if not Path("/proc/self/environ").exists():  # elsewhere the system does not tell
        printed = printed.replace("as it was then", "None")
    first, second = f"{child.pid} None 0", f"{child.pid} None 3"
    assert printed.splitlines() == [first, "exit function", second, "0", "exit function"]
