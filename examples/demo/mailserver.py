"""An SMTP server to try things out with: it keeps what it receives, and misbehaves on request.

``python mailserver.py --port 2525 --dir some/folder`` listens on loopback, takes mail from anyone
for anyone, and keeps the newest 200 messages. :mod:`spool` says what the folder holds and how
faults are asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from spool import Faults, Received, Spool

MAX_SIZE = 25 * 1024 * 1024
MAX_LINE = 1024 * 1024
IDLE_SECONDS = 300
KEEP = 200
LOOK_SECONDS = 0.05  # how soon the port closes or opens, and a delay ends, once that is asked for

_PATH = re.compile(r"(?:FROM|TO):\s*<([^<>]*)>\s*(.*)", re.IGNORECASE)
_MESSAGE_ID = re.compile(rb"^message-id:\s*(\S+)", re.IGNORECASE | re.MULTILINE)


@dataclass(slots=True)
class Envelope:
    """What MAIL and RCPT have said so far; a sender of None: no MAIL was accepted."""

    sender: str | None = None
    recipients: list[str] = field(default_factory=list)


class Mailbox:
    """What the connections share: the folder, and which messages were turned away once."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._kept = deque(reversed(spool.numbers()))
        self._turned_away: deque[str] = deque(maxlen=10_000)
        self._complaint = ""

    def faults(self) -> Faults:
        """What is asked for now; a file that makes no sense is reported once and means ``ok``."""
        try:
            faults, complaint = self._spool.faults(), ""
        except ValueError as error:
            faults, complaint = Faults(), f"faults.json is ignored. {error}"
        if complaint and complaint != self._complaint:
            print(complaint, file=sys.stderr, flush=True)
        self._complaint = complaint
        return faults

    def take(self, envelope: Envelope, content: bytes, client: str, *, answered: bool) -> int:
        """Keep a message, let the oldest go, and give its number."""
        number = self._kept[-1] + 1 if self._kept else 1
        received = Received(
            number,
            time.time(),
            client,
            envelope.sender or "",
            tuple(envelope.recipients),
            message_id(content),
            len(content),
            answered,
        )
        self._spool.store(received, content)
        self._kept.append(number)
        while len(self._kept) > KEEP:
            self._spool.remove(self._kept.popleft())
        return number

    def first_try(self, content: bytes) -> bool:
        """Whether this message has not been turned away yet."""
        key = message_id(content)
        if key in self._turned_away:
            return False
        self._turned_away.append(key)
        return True


class Session:
    """One connection: reads a command, answers it, reads the next.

    That is all that PIPELINING asks of a server.
    """

    def __init__(
        self, mailbox: Mailbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._mailbox = mailbox
        self._reader = reader
        self._writer = writer
        self._client = str(writer.get_extra_info("peername")[0])
        self._envelope = Envelope()

    async def run(self) -> None:
        """Talk until one side has had enough."""
        try:
            reply = "220 demo.localhost ESMTP Flask-Outbox demo"
            while reply:
                await self._say(reply)
                reply = "" if reply.startswith(("221", "421")) else await self._answer()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left without QUIT
        finally:
            self._writer.close()

    async def _say(self, reply: str) -> None:
        self._writer.write(reply.encode() + b"\r\n")
        await self._writer.drain()

    async def _line(self) -> bytes:
        async with asyncio.timeout(IDLE_SECONDS):
            return await self._reader.readuntil(b"\n")

    async def _answer(self) -> str:
        """Read a command and give the reply to it; "" hangs up."""
        try:
            line = await self._line()
            verb, _, argument = line.decode(errors="replace").strip().partition(" ")
            command = getattr(self, f"do_{verb.lower()}", None) if verb.isalpha() else None
            if command is None:
                return "500 5.5.2 I do not know this command"
            return str(await command(argument.strip()))
        except TimeoutError:
            return "421 4.4.2 You have been silent for too long"
        except asyncio.LimitOverrunError:
            return "421 4.5.2 That line does not end"

    async def do_ehlo(self, name: str) -> str:
        self._envelope = Envelope()
        words = ("demo.localhost", "PIPELINING", f"SIZE {MAX_SIZE}", "8BITMIME", "SMTPUTF8")
        return "".join(f"250-{word}\r\n" for word in words) + "250 ENHANCEDSTATUSCODES"

    async def do_helo(self, name: str) -> str:
        self._envelope = Envelope()
        return "250 demo.localhost"

    async def do_noop(self, text: str) -> str:
        return "250 2.0.0 OK"

    async def do_rset(self, text: str) -> str:
        self._envelope = Envelope()
        return "250 2.0.0 OK"

    async def do_quit(self, text: str) -> str:
        return "221 2.0.0 Bye"

    async def do_mail(self, text: str) -> str:
        match = _PATH.fullmatch(text)
        if match is None:
            return "501 5.5.4 MAIL FROM:<address>, please"
        if self._envelope.sender is not None:
            return "503 5.5.1 One MAIL at a time"
        for parameter in match[2].upper().split():
            key, _, value = parameter.partition("=")
            if key not in {"BODY", "SIZE", "SMTPUTF8"}:
                return f"555 5.5.4 I do not know {key}"
            if key == "SIZE" and value.isdecimal() and int(value) > MAX_SIZE:
                return "552 5.3.4 The message is too large"
        started = time.monotonic()
        while time.monotonic() - started < self._mailbox.faults().delay:
            await asyncio.sleep(LOOK_SECONDS)
        self._envelope.sender = match[1]
        return "250 2.1.0 OK"

    async def do_rcpt(self, text: str) -> str:
        match = _PATH.fullmatch(text)
        if match is None or not match[1] or match[2]:
            return "501 5.5.4 RCPT TO:<address>, please"
        if self._envelope.sender is None:
            return "503 5.5.1 MAIL first"
        mode = self._mailbox.faults().mode
        if mode == "defer":
            return "451 4.2.1 The mailbox is busy, try again later"
        if mode == "refuse":
            return "550 5.1.1 There is no such mailbox"
        self._envelope.recipients.append(match[1])
        return "250 2.1.5 OK"

    async def do_data(self, text: str) -> str:
        if not self._envelope.recipients:
            return "554 5.5.1 No valid recipients"
        await self._say("354 End with a dot on a line of its own")
        content = await self._content()
        envelope, self._envelope = self._envelope, Envelope()
        if content is None:
            return "552 5.3.4 The message is too large"
        return await self._decide(envelope, content)

    async def _content(self) -> bytes | None:
        """Read up to the final dot; None if there was too much of it."""
        lines, size = [], 0
        while (line := await self._line()) != b".\r\n":
            line = line.removeprefix(b".")  # RFC 5321 §4.5.2
            size += len(line)
            if size <= MAX_SIZE:
                lines.append(line)
        return b"".join(lines) if size <= MAX_SIZE else None

    async def _decide(self, envelope: Envelope, content: bytes) -> str:
        """The reply to the final dot, by what is asked for."""
        mode = self._mailbox.faults().mode
        if mode == "greylist" and self._mailbox.first_try(content):
            return "451 4.7.1 Greylisted, try again"
        answered = mode != "drop"
        number = self._mailbox.take(envelope, content, self._client, answered=answered)
        return f"250 2.0.0 Kept as {number}" if answered else ""


def message_id(content: bytes) -> str:
    """The Message-ID header, or ""."""
    found = _MESSAGE_ID.search(content.partition(b"\r\n\r\n")[0])
    return found[1].decode(errors="replace") if found else ""


class Door:
    """The port: open, or closed while the server is to be down. Closing it ends every connection."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._server: asyncio.Server | None = None
        self._guests: set[asyncio.StreamWriter] = set()

    async def open(self, port: int) -> int:
        """Listen, and give the port."""
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", port, limit=MAX_LINE)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for guest in self._guests:
            guest.transport.abort()

    async def keep(self, port: int) -> None:
        """Open and close as is asked for."""
        if self._mailbox.faults().mode == "down":
            self.close()
        elif self._server is None:
            await self.open(port)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._guests.add(writer)
        try:
            with suppress(asyncio.CancelledError):  # the server stops
                await Session(self._mailbox, reader, writer).run()
        finally:
            self._guests.discard(writer)


async def serve(port: int, folder: Path) -> None:
    """Serve until SIGTERM or SIGINT; the one line printed says where."""
    spool = Spool(folder)
    door = Door(Mailbox(spool))
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    port = await door.open(port)
    spool.set_port(port)
    print(f"listening on 127.0.0.1:{port}", flush=True)
    while not stop.is_set():
        await door.keep(port)
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await stop.wait()
    door.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="An SMTP server to try things out with.")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--dir", type=Path, required=True, help="where it keeps what it receives")
    arguments = parser.parse_args()
    try:
        asyncio.run(serve(arguments.port, arguments.dir))
    except OSError as error:
        sys.exit(f"The mail server cannot start: {error}")


if __name__ == "__main__":
    main()
