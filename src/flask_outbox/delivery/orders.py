"""What the signals to a worker mean, and how it begins anew.

SIGTERM and SIGINT: finish and end; a second one: end now. SIGHUP: finish and begin anew; but where it says that the
terminal is gone, end. A SIGHUP that is ignored from the start (``nohup``) stays ignored.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Self

_ENDS = (signal.SIGTERM, signal.SIGINT)
_HANG_UP: signal.Signals | None = getattr(signal, "SIGHUP", None)
_OURS = {*_ENDS, *([_HANG_UP] if _HANG_UP else [])}


def die_by(number: int) -> None:
    """End this process as that signal does by itself."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


class Orders:
    """Listens while the context is open, for something that runs on the current event loop.

    When a new beginning was asked for, it goes on listening until :func:`begin_anew`: a SIGHUP means the same
    again, and an end is still an end.

    :param end: called on the loop at the first signal that asks for the end.
    :param again: called on the loop when a new beginning is asked for; None where there is none, and SIGHUP is nothing.
    :param now: called at once, in between anything, at the second signal that asks for the end; None where the first
        one may be repeated.
    """

    def __init__(
        self,
        end: Callable[[], object],
        again: Callable[[], object] | None,
        now: Callable[[int], object] | None = die_by,
    ) -> None:
        self._end, self._again, self._now = end, again, now
        self._on_terminal = os.isatty(0)
        self._before: list[tuple[signal.Signals, object]] = []
        #: Whether the end was asked for.
        self.ended = False
        #: Whether a new beginning was asked for, and the end was not.
        self.renewed = False

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        for number in _ENDS:
            self._before.append((number, signal.signal(number, self._asked_to_end)))
        if _HANG_UP is not None and signal.getsignal(_HANG_UP) is not signal.SIG_IGN:
            self._before.append((_HANG_UP, signal.signal(_HANG_UP, self._hung_up)))
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
        return self

    def __exit__(self, *_: object) -> None:
        if self.renewed:
            return
        for number, handler in self._before:
            signal.signal(number, handler)  # type: ignore[arg-type]  # as it was given to us

    def _asked_to_end(self, number: int, frame: FrameType | None) -> None:
        if self.ended and self._now is not None:
            self._now(number)
        self.ended, self.renewed = True, False
        self._call(self._end)

    def _hung_up(self, number: int, frame: FrameType | None) -> None:
        if self._again is None or self.ended:
            return
        # A terminal that is gone is none any more.
        if self._on_terminal and not os.isatty(0):
            self._asked_to_end(number, frame)
            return
        self.renewed = True
        self._call(self._again)

    def _call(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop has ended, and what ran on it
            self._loop.call_soon_threadsafe(function)


def begin_anew(orders: Orders) -> None:
    """Start the program of this process again, in this process: with new code and settings, under the same id.

    Returns if the end was asked for instead.
    """
    atexit._run_exitfuncs()  # exec runs none of them
    sys.stdout.flush()
    sys.stderr.flush()
    # What comes from here on waits for the next beginning: a mask outlives exec, but a handler does not.
    signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
    if not orders.renewed:
        return
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, command, first_environment())  # noqa: S606  # no shell is wanted


def first_environment() -> dict[str, str]:
    """The environment that this process was started with: without what a ``.env`` file said then."""
    try:
        found = Path("/proc/self/environ").read_bytes()
    except OSError:
        return dict(os.environ)
    pairs = (os.fsdecode(entry).partition("=") for entry in found.split(b"\0") if b"=" in entry)
    return {name: value for name, _, value in pairs}
