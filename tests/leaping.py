"""An event loop whose clock leaps to the next timer as soon as it may and nothing else happens."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any


class Leaping(asyncio.SelectorEventLoop):
    """The loop.

    :param grace: seconds in which something else may still happen, before each leap.
    :param limit: seconds after which, by this clock, it leaps no more.
    :param done: called then.
    """

    def __init__(
        self,
        *,
        grace: float = 0.0,
        limit: float = float("inf"),
        done: Callable[[], object] = lambda: None,
    ) -> None:
        self.may_leap = False
        self.leapt = 0.0
        #: How often it leapt: what it would have slept through was ended by a timer.
        self.leaps = 0
        #: How often it went round.
        self.rounds = 0
        self._grace = grace
        self._limit = limit
        self._done = done
        super().__init__(_Selector(self))
        self._begun = self.time()

    def time(self) -> float:
        return super().time() + self.leapt

    def leap(self, seconds: float) -> None:
        self.leapt += seconds
        self.leaps += 1
        if self.time() - self._begun >= self._limit:
            self.may_leap = False
            self._done()

    def grace(self, timeout: float) -> float:
        return min(self._grace, timeout)


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: Leaping) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        loop = self._loop
        loop.rounds += 1
        if not loop.may_leap or timeout is None or timeout <= 0:
            return super().select(timeout)
        events = super().select(loop.grace(timeout))
        if not events:
            loop.leap(timeout - loop.grace(timeout))
        return events
