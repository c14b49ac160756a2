"""Room for letters in memory, and those who wait for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from ..errors import BacklogFullError
from ..mail.letter import Letter
from .settings import BacklogSettings


class Waiting:
    """A caller who waits for room.

    :param enter: what to do once there is room.
    :ivar taken: done then; it cannot be cancelled.
    """

    def __init__(self, letters: Sequence[Letter], enter: Callable[[], object]) -> None:
        self.letters, self.enter = letters, enter
        self.taken: Future[None] = Future()
        self.taken.set_running_or_notify_cancel()


class Space:
    """So much room; asked from any thread. Whoever came first gets it first."""

    def __init__(self, settings: BacklogSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._letters = self._bytes = 0
        self._waiting: deque[Waiting] = deque()

    def __len__(self) -> int:
        """How many letters there are."""
        return self._letters

    def full(self) -> BacklogFullError:
        """What to raise where there is no room."""
        return BacklogFullError(
            f"No room for another message: MAIL_BACKGROUND_LIMIT lets {self._settings.letters} wait in memory,"
            f" MAIL_BACKGROUND_MAX_BYTES {self._settings.bytes} bytes."
        )

    def take(self, letters: Sequence[Letter]) -> bool:
        """Whether there is room for all of these, which they have then."""
        with self._lock:
            return not self._waiting and self._take(letters)

    def _take(self, letters: Sequence[Letter]) -> bool:
        count = self._letters + len(letters)
        size = self._bytes + sum(letter.size for letter in letters)
        # Where nothing else is, anything may be: what is larger than all the room would wait for ever.
        if self._letters and (count > self._settings.letters or size > self._settings.bytes):
            return False
        self._letters, self._bytes = count, size
        return True

    def free(self, letter: Letter) -> None:
        """This one is gone."""
        with self._lock:
            self._letters -= 1
            self._bytes -= letter.size

    def wait(self, letters: Sequence[Letter], enter: Callable[[], object]) -> Waiting:
        """Line up."""
        waiting = Waiting(letters, enter)
        with self._lock:
            self._waiting.append(waiting)
        return waiting

    def next(self) -> Waiting | None:
        """The first in the line, if there is room for his letters, which they have then."""
        with self._lock:
            if not self._waiting or not self._take(self._waiting[0].letters):
                return None
            return self._waiting.popleft()

    def turn_away(self, waiting: Waiting) -> None:
        """Let someone wait no longer, if he still does."""
        with self._lock:
            if waiting not in self._waiting:
                return
            self._waiting.remove(waiting)
        waiting.taken.set_exception(self.full())

    def turn_all_away(self) -> None:
        """Let nobody wait any longer."""
        for waiting in list(self._waiting):
            self.turn_away(waiting)
