"""The bell between whoever stores a letter and whoever drains: one datagram to a Unix socket beside the file.

It only saves waiting: the drainer looks once a second anyway, so a bell that cannot be rung is not an error.
Where the platform has no Unix datagram sockets (Windows) it is simply silent.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

#: sun_path holds 104 bytes on BSD and macOS, 108 on Linux, the NUL included.
_LONGEST = 100


def bell_path(outbox: str) -> str:
    """Where the bell of an outbox is: beside its file, or in the temp folder where that name is too long."""
    beside = f"{outbox}.bell"
    if len(os.fsencode(beside)) <= _LONGEST:
        return beside
    name = hashlib.sha256(os.fsencode(outbox)).hexdigest()[:24]
    return str(Path(tempfile.gettempdir()) / f"flask-outbox-{name}.bell")


class Bell:
    """Rings for one outbox.

    :param path: as from :func:`bell_path`.
    """

    @classmethod
    def of(cls, outbox: Path | None) -> Bell | None:
        """The bell of an outbox's file; None for a server database, which has none."""
        return None if outbox is None else cls(bell_path(str(outbox)))

    def __init__(self, path: str) -> None:
        self.path = path
        self._listening: socket.socket | None = None
        self._ringing: socket.socket | None = None

    def ring(self) -> None:
        """Wake the drainer, if there is one."""
        if not hasattr(socket, "AF_UNIX"):
            return
        ringing = self._ringing
        if ringing is None:
            # Bound to nothing and connected to nothing: threads and the children of a fork may share it.
            ringing = self._ringing = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            ringing.setblocking(False)
            weakref.finalize(self, ringing.close)
        try:
            ringing.sendto(b"!", self.path)
        except OSError:
            return  # nobody listens, or its queue is full and it is awake anyway: the poll finds the letter

    def listen(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], object]) -> None:
        """Call ``wake`` whenever the bell rings. Only the drainer may listen: it takes the name from a dead one."""
        if not hasattr(socket, "AF_UNIX"):
            return
        Path(self.path).unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listening.setblocking(False)
        try:
            listening.bind(self.path)
        except OSError:
            listening.close()
            return  # a filesystem without sockets: the poll finds the letters
        Path(self.path).chmod(0o600)
        self._listening = listening
        loop.add_reader(listening.fileno(), self._heard, wake)

    def deafen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop listening and remove the socket's name."""
        if self._listening is not None:
            loop.remove_reader(self._listening.fileno())
            self._listening.close()
            self._listening = None
            Path(self.path).unlink(missing_ok=True)

    def _heard(self, wake: Callable[[], object]) -> None:
        listening = self._listening
        while listening is not None:
            try:
                listening.recv(16)
            except BlockingIOError:
                break
        wake()
