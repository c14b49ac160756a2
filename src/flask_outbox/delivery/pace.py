"""How many letters a second: a cap, which keeps the worker thread polite to its web process, and a measure."""

from __future__ import annotations

import math


class Pace:
    """Tokens that refill with time, one a letter, at most half a second's worth saved up.

    :param rate: letters a second, or None for no cap.
    """

    def __init__(self, rate: float | None, now: float) -> None:
        self._rate = rate
        self._most = max(1.0, rate / 2) if rate else math.inf
        self._tokens = self._most
        self._at = now

    def allowance(self, now: float) -> float:
        """How many letters may be started at this moment."""
        if self._rate:
            self._tokens = min(self._most, self._tokens + max(0.0, now - self._at) * self._rate)
            self._at = now
        return math.floor(self._tokens) if self._rate else math.inf

    def take(self, letters: int) -> None:
        """Note that so many were started."""
        self._tokens -= letters

    def wait(self) -> float:
        """Seconds until a fair number may be started again."""
        return (self._most / 2) / self._rate if self._rate else 0.0


class Speed:
    """Letters a second, as of the last twentieth of a second in which any were counted."""

    _WINDOW = 0.05

    def __init__(self, now: float) -> None:
        self._since = now
        self._counted = 0
        self._last = 0.0

    def count(self) -> None:
        """One more is through."""
        self._counted += 1

    def per_second(self, now: float) -> float:
        """The speed."""
        elapsed = now - self._since
        if elapsed >= self._WINDOW:
            self._last = self._counted / elapsed
            self._since, self._counted = now, 0
        return self._last
