"""Measuring side by side: everyone in turn, round after round, each by its median.

The machine is shared and its speed changes from one second to the next; what slows one round slows all of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import TypeVar

T = TypeVar("T")


def alternate(contestants: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each contestant measured, round by round; before several rounds one only warms up.

    Each round has another order: who comes next finds the caches as the one before has left them.
    """
    if rounds > 1:
        for contestant in contestants.values():
            contestant()
    found: dict[str, list[T]] = {name: [] for name in contestants}
    order, chance = list(contestants), random.Random(rounds)
    for _ in range(rounds):
        chance.shuffle(order)
        for name in order:
            found[name].append(contestants[name]())
    return found


def medians(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median figure of each contestant."""
    return {name: median(found) for name, found in alternate(contestants, rounds).items()}


def computing(call: Callable[[], object], burst: float) -> Callable[[], float]:
    """CPU seconds of one call of a function that only computes, the mean over a burst of them."""

    def figure() -> float:
        calls = 0
        started = now = time.process_time()
        while calls == 0 or now - started < burst:
            call()
            calls += 1
            now = time.process_time()
        return (now - started) / calls

    return figure


def waiting(call: Callable[[], object]) -> Callable[[], float]:
    """Seconds of one call of a function that waits for disk or network."""

    def figure() -> float:
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    return figure
