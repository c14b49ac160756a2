"""An SMTP server that accounts for every message by its Message-ID, in a thread of the test's own process.

A message counts from the moment its final dot was read, whether or not the reply reaches anyone: that is what a
recipient would have got.

It can be told to drop a connection at any step: a command's verb, ``GREETING``, ``MIDDLE`` (of a content) or
``CONTENT`` (the reply to one).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from enum import Enum, auto
from types import TracebackType
from typing import Self

_EHLO = b"250-accounting.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n"

#: Any other command is only taken.
_REPLIES = {"EHLO": _EHLO, "QUIT": b"221 bye\r\n"}

_MESSAGE_ID = re.compile(rb"^Message-ID: (<[^>]+>)", re.MULTILINE | re.IGNORECASE)


class When(Enum):
    """Where in its reply a server drops the connection."""

    BEFORE = auto()
    MIDWAY = auto()
    BEHIND = auto()
    #: Instead of it comes a farewell, RFC 5321's 421.
    FAREWELL = auto()


class _Dropped(Exception):
    """The server drops the connection."""


class AccountingServer:
    """Takes everything.

    :param on_content: called in the server's thread after a final dot was read and before the reply is written,
        with the number of messages so far.
    :param on_step: asked there at each step of each connection whether to drop it, and when.
    """

    def __init__(
        self,
        on_content: Callable[[int], None] = lambda count: None,
        on_step: Callable[[str], When | None] = lambda step: None,
    ) -> None:
        self.on_content = on_content
        self.on_step = on_step
        #: Message-ID -> the digest of each copy.
        self.copies: defaultdict[str, list[str]] = defaultdict(list)
        #: Message-ID -> for each copy the era in which its connection was opened.
        self.eras: defaultdict[str, list[int]] = defaultdict(list)
        #: Counted up by a test that starts the next client.
        self.era = 0
        self.count = 0
        self.port = 0
        self._conversations: set[asyncio.Task[None]] = set()
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the accounting server did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def wait_for(self, messages: int, deadline: float = 60.0) -> None:
        """Return once so many different messages are here."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.copies) >= messages, deadline):
                raise TimeoutError(
                    f"{len(self.copies)} of {messages} messages within {deadline:g} s"
                )

    @property
    def duplicates(self) -> int:
        """Copies beyond the first of each message."""
        return sum(len(copies) - 1 for copies in self.copies.values())

    def repeated_from(self, era: int) -> int:
        """How many of the copies that came in one era were followed by another."""
        return sum(era in eras[:-1] for eras in self.eras.values())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        server = await asyncio.start_server(self._converse, "127.0.0.1", 0, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.current_task()
        assert conversation is not None
        self._conversations.add(conversation)
        era = self.era
        try:
            await self._talk(reader, writer, era)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, _Dropped):
            return  # the client was killed, the test is over, or it was to be
        finally:
            self._conversations.discard(conversation)
            writer.transport.abort()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, era: int
    ) -> None:
        await self._say(writer, "GREETING", b"220 accounting.example ESMTP\r\n")
        while line := await reader.readline():
            verb = line[:4].decode("ascii", "replace").upper()
            if verb == "DATA":
                await self._say(writer, verb, b"354 go on\r\n")
                if self.on_step("MIDDLE"):
                    await reader.readexactly(1)
                    raise _Dropped
                self._account(await reader.readuntil(b"\r\n.\r\n"), era)
                await self._say(writer, "CONTENT", b"250 2.0.0 Ok\r\n")
            else:
                await self._say(writer, verb, _REPLIES.get(verb, b"250 Ok\r\n"))
                if verb == "QUIT":
                    break
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _say(self, writer: asyncio.StreamWriter, step: str, reply: bytes) -> None:
        when = self.on_step(step)
        if when is None:
            writer.write(reply)
            return
        said = {
            When.BEFORE: b"",
            When.MIDWAY: reply[: len(reply) // 2],
            When.BEHIND: reply,
            When.FAREWELL: b"421 4.3.2 Shutting down\r\n",
        }
        writer.write(said[when])
        await writer.drain()
        raise _Dropped

    def _account(self, content: bytes, era: int) -> None:
        found = _MESSAGE_ID.search(content)
        message_id = found[1].decode() if found else "(none)"
        with self._changed:
            self.count += 1
            self.eras[message_id].append(era)
            self.copies[message_id].append(hashlib.sha256(content).hexdigest())
            self._changed.notify_all()
        self.on_content(self.count)
