"""What a script can have a scripted server do instead of replying plainly."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum, auto

#: Seconds after which a test fails instead of waiting on.
DEADLINE = 20


class Act(Enum):
    """What needs no telling more."""

    DROP = auto()  # close the connection at once
    RESET = auto()  # the same by RST: what is under way to the client may be lost with it
    HANG = auto()  # neither say anything nor read any more
    PLAIN = auto()  # the plain reply
    HALF = auto()  # the first half of the plain reply


DROP, RESET, HANG, PLAIN, HALF = Act.DROP, Act.RESET, Act.HANG, Act.PLAIN, Act.HALF


class Ended(Exception):
    """One of the two closed the connection."""


class Deed(ABC):
    """What takes its time."""

    @abstractmethod
    async def perform(self, writer: asyncio.StreamWriter) -> None: ...


class Gate(Deed):
    """The server stops here, having said what it had to say before, until the test opens it."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    async def reached(self) -> None:
        """Wait until the server stands at the gate."""
        assert await asyncio.to_thread(self._reached.wait, DEADLINE), "nobody came to the gate"

    def open(self) -> None:
        self._opened.set()

    async def perform(self, writer: asyncio.StreamWriter) -> None:
        self._reached.set()
        assert await asyncio.to_thread(self._opened.wait, DEADLINE), "nobody opened the gate"


class Drip(Deed):
    """One byte a packet.

    :param pause: seconds between two of them.
    """

    def __init__(self, data: bytes, pause: float = 0.0) -> None:
        self.data = data
        self._pause = pause

    async def perform(self, writer: asyncio.StreamWriter) -> None:
        for value in self.data:
            writer.write(bytes([value]))
            await writer.drain()
            await asyncio.sleep(self._pause)


class Flood(Deed):
    """The same bytes again and again, until the client has had enough of it.

    :param limit: bytes after which it ends anyway.
    """

    def __init__(self, data: bytes, limit: int = 100 * 2**20) -> None:
        self.sent = 0
        self._chunk = data * max(1, 16_384 // len(data))
        self._limit = limit

    async def perform(self, writer: asyncio.StreamWriter) -> None:
        while self.sent < self._limit:
            writer.write(self._chunk)
            await writer.drain()
            self.sent += len(self._chunk)


#: Text is a reply, its line ends are added; bytes go out as they are.
Action = str | bytes | Act | Deed
Item = Action | tuple[Action, ...] | None
Script = Mapping[str, Item | list[Item]]
