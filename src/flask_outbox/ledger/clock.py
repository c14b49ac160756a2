"""The clock of an outbox: this machine's for a file, the database's for a server that many machines share."""

from __future__ import annotations

import time


def boot_clock() -> float:
    """Seconds since boot, by a clock that no one sets and that runs while the machine sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Clock:
    """Unix seconds. Once it was set, by a server, it goes on by :func:`boot_clock` until it is set again."""

    def __init__(self) -> None:
        self._ahead: float | None = None

    @property
    def is_set(self) -> bool:
        """Whether it is a server's."""
        return self._ahead is not None

    def set(self, moment: float) -> None:
        """It is that moment now."""
        self._ahead = moment - boot_clock()

    def now(self) -> float:
        """This moment."""
        return time.time() if self._ahead is None else boot_clock() + self._ahead
