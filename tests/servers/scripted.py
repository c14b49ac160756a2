"""An SMTP server that does exactly what a test tells it to, in a thread of its own.

Without a script it is a plain server with pipelining that takes everything. A script names steps and what is
done there instead::

    with ScriptedServer(script={"RCPT": ["550 5.1.1 Nobody", None], "CONTENT": DROP}) as server: ...

A step is a command's verb, ``GREETING``, ``RESPONSE`` (in AUTH), ``MIDDLE`` (of a content) or ``CONTENT``. A value
is done each time; a list is used up, one item a time; None is what the plain server does. A tuple is done in order.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Self

CAPABILITIES = ("PIPELINING", "SIZE 50000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")

#: Seconds after which a test fails instead of waiting on.
DEADLINE = 20


class Act(Enum):
    DROP = auto()  # close the connection at once
    HANG = auto()  # never say anything again


DROP, HANG = Act.DROP, Act.HANG


class Gate:
    """The server stops here, having said what it had to say before, until the test opens it."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    async def reached(self) -> None:
        """Wait until the server stands at the gate."""
        assert await asyncio.to_thread(self._reached.wait, DEADLINE), "nobody came to the gate"

    def open(self) -> None:
        self._opened.set()

    async def pass_through(self) -> None:
        self._reached.set()
        assert await asyncio.to_thread(self._opened.wait, DEADLINE), "nobody opened the gate"


#: Text is a reply, its line ends are added; bytes go out as they are.
Action = str | bytes | Act | Gate
Item = Action | tuple[Action, ...] | None
Script = Mapping[str, Item | list[Item]]


#: The server's side of a SASL mechanism: made of the client's first word, if it came along, it yields challenges, is
#: sent answers, and returns whether the client may come in.
Examiner = Callable[[bytes | None], Generator[bytes, bytes, bool]]


@dataclass
class Message:
    """What was accepted; the content without the dots that SMTP adds."""

    sender: str
    recipients: list[str]
    content: bytes


@dataclass
class Session:
    """One connection.

    :param commands: the lines as they came, without contents.
    :param trips: the steps replied to between two moments of waiting for the client: an item is a round trip.
    """

    commands: list[str] = field(default_factory=list)
    trips: list[list[str]] = field(default_factory=list)
    encrypted: bool = False

    @property
    def letter_trips(self) -> list[list[str]]:
        """The round trips from the first MAIL on, without QUIT."""
        first = next((n for n, trip in enumerate(self.trips) if "MAIL" in trip), len(self.trips))
        return [trip for trip in self.trips[first:] if trip != ["QUIT"]]


class ScriptedServer:
    """The server; a context manager.

    :param accounts: user names and passwords; AUTH is announced when there are any.
    :param examiners: mechanisms besides PLAIN and LOGIN, by name.
    :param tls: announces STARTTLS; with ``implicit`` TLS is spoken from the first byte.
    :param lmtp: LMTP is spoken: a content has a reply, and a CONTENT in the script, for each recipient.
    :param socket: the path of a Unix socket, where it listens instead of a port.
    """

    def __init__(
        self,
        capabilities: Sequence[str] = CAPABILITIES,
        *,
        script: Script | None = None,
        accounts: Mapping[str, str] | None = None,
        mechanisms: str = "PLAIN LOGIN",
        tls: ssl.SSLContext | None = None,
        implicit: bool = False,
        examiners: Mapping[str, Examiner] | None = None,
        lmtp: bool = False,
        socket: str | None = None,
    ) -> None:
        self.capabilities = list(capabilities)
        self.accounts = dict(accounts or {})
        self.mechanisms = mechanisms
        self.tls = tls
        self.implicit = implicit
        self.examiners = dict(examiners or {})
        self.lmtp = lmtp
        self.socket = socket
        self.sessions: list[Session] = []
        self.messages: list[Message] = []
        self.port = 0
        self._script = {
            step: list(item) if isinstance(item, list) else item
            for step, item in (script or {}).items()
        }
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(DEADLINE), "the scripted server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the scripted server did not end"

    @property
    def contents(self) -> list[bytes]:
        return [message.content for message in self.messages]

    def scripted(self, step: str) -> Item:
        """What the script wants at this step, this time."""
        item = self._script.get(step)
        if isinstance(item, list):
            return item.pop(0) if item else None
        return item

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        context = self.tls if self.implicit else None
        if self.socket:
            server = await asyncio.start_unix_server(self._accept, self.socket)
        else:
            server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context)
            self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(encrypted=self.implicit)
        self.sessions.append(session)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await _Conversation(self, session, reader, writer).hold()
        except (ConnectionError, ssl.SSLError, _Ended, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


class _Ended(Exception):
    """One of the two closed the connection."""


class _Conversation:
    def __init__(
        self,
        server: ScriptedServer,
        session: Session,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.server = server
        self.session = session
        self.reader = reader
        self.writer = writer
        self.heard = b""
        self.said = b""
        self.code = 0
        self.answered: list[str] = []
        self.code = 0
        self.sender: str | None = None
        self.recipients: list[str] = []

    async def hold(self) -> None:
        await self.do("GREETING", "220 scripted.example ESMTP")
        while True:
            line = await self.line()
            verb = line.partition(" ")[0].upper()
            method = getattr(self, f"on_{verb.lower()}", None)
            if method is None:
                await self.do(verb, "500 5.5.1 What?")
            else:
                await method(line)

    # -- the wire ----------------------------------------------------------------------------------------------

    async def more(self) -> None:
        """Wait for the client, which first hears what there is to say."""
        await self.flush()
        data = await self.reader.read(2**20)
        if not data:
            raise _Ended
        self.heard += data

    async def flush(self) -> None:
        if self.answered:
            self.session.trips.append(self.answered)
            self.answered = []
        if self.said:
            said, self.said = self.said, b""
            self.writer.write(said)
            await self.writer.drain()

    async def line(self) -> str:
        while b"\r\n" not in self.heard:
            await self.more()
        line, _, self.heard = self.heard.partition(b"\r\n")
        self.session.commands.append(line.decode())
        return line.decode()

    async def do(self, step: str, plain: str) -> int:
        """Reply as the script wants, or plainly; returns the code of the reply."""
        item = self.server.scripted(step)
        if item is None:
            item = plain
        self.answered.append(step)
        self.code = 0
        for action in item if isinstance(item, tuple) else (item,):
            if isinstance(action, str):
                self.say(action.replace("\n", "\r\n").encode() + b"\r\n")
            elif isinstance(action, bytes):
                self.say(action)
            else:
                await self.act(action)
        return self.code

    def say(self, reply: bytes) -> None:
        self.said += reply
        self.code = int(reply[:3]) if reply[:3].isdigit() else 0

    async def act(self, action: Act | Gate) -> None:
        await self.flush()
        if action is DROP:
            raise _Ended
        if isinstance(action, Gate):
            await action.pass_through()
        else:
            await asyncio.Event().wait()

    # -- the commands ------------------------------------------------------------------------------------------

    async def on_ehlo(self, line: str) -> None:
        if self.server.lmtp:
            await self.do("EHLO", "500 5.5.1 LHLO it is")
        else:
            await self.greet("EHLO")

    async def on_lhlo(self, line: str) -> None:
        if self.server.lmtp:
            await self.greet("LHLO")
        else:
            await self.do("LHLO", "500 5.5.1 What?")

    async def greet(self, step: str) -> None:
        offered = ["scripted.example", *self.server.capabilities]
        if self.server.tls and not self.session.encrypted:
            offered.append("STARTTLS")
        if self.server.accounts or self.server.examiners:
            mechanisms = [self.server.mechanisms] if self.server.accounts else []
            offered.append(" ".join(["AUTH", *mechanisms, *self.server.examiners]))
        lines = [*(f"250-{text}" for text in offered[:-1]), f"250 {offered[-1]}"]
        await self.do(step, "\n".join(lines))

    async def on_helo(self, line: str) -> None:
        await self.do("HELO", "250 scripted.example")

    async def on_starttls(self, line: str) -> None:
        if await self.do("STARTTLS", "220 2.0.0 Go ahead") == 220:
            await self.flush()
            assert self.server.tls is not None
            await self.writer.start_tls(self.server.tls)
            self.session.encrypted = True
            self.heard = b""

    async def on_auth(self, line: str) -> None:
        _, mechanism, *first = line.split(" ")
        if "AUTH" in self.server._script:
            code = await self.do("AUTH", "")
            while code == 334:
                await self.line()
                code = await self.do("RESPONSE", "535 5.7.8 No")
            return
        if mechanism in self.server.examiners:
            known = await self.examine(self.server.examiners[mechanism], first)
            await self.do("LOGIN", "235 2.7.0 Welcome" if known else "535 5.7.8 Wrong credentials")
            return
        if mechanism == "PLAIN":
            response = first[0] if first else await self.ask("")
            _, username, password = base64.b64decode(response).decode().split("\0")
        else:
            username = base64.b64decode(await self.ask("VXNlcm5hbWU6")).decode()
            password = base64.b64decode(await self.ask("UGFzc3dvcmQ6")).decode()
        known = self.server.accounts.get(username) == password
        await self.do("LOGIN", "235 2.7.0 Welcome" if known else "535 5.7.8 Wrong name or password")

    async def examine(self, examiner: Examiner, first: Sequence[str]) -> bool:
        """Whether the client may come in, and has not given up before."""
        word = base64.b64decode("" if first[0] == "=" else first[0]) if first else None
        examination = examiner(word)
        try:
            challenge = next(examination)
            while (answer := await self.ask(base64.b64encode(challenge).decode())) != "*":
                challenge = examination.send(base64.b64decode(answer))
        except StopIteration as end:
            return bool(end.value)
        return False

    async def ask(self, challenge: str) -> str:
        await self.do("CHALLENGE", f"334 {challenge}")
        return await self.line()

    async def on_mail(self, line: str) -> None:
        self.sender, self.recipients = None, []
        if await self.do("MAIL", "250 2.1.0 Sender ok") == 250:
            self.sender = _path(line)

    async def on_rcpt(self, line: str) -> None:
        plain = "503 5.5.1 MAIL first" if self.sender is None else "250 2.1.5 Recipient ok"
        if await self.do("RCPT", plain) == 250:
            self.recipients.append(_path(line))

    async def on_data(self, line: str) -> None:
        plain = "354 Go on" if self.recipients else "554 5.5.1 No valid recipients"
        if await self.do("DATA", plain) != 354:
            return
        await self.flush()
        self.heard = b"\r\n" + self.heard
        while b"\r\n.\r\n" not in self.heard:
            await self.more()
            if (act := self.server.scripted("MIDDLE")) is not None:
                assert isinstance(act, Act | Gate)
                await self.act(act)
        content, _, self.heard = self.heard.partition(b"\r\n.\r\n")
        content = (content + b"\r\n").replace(b"\r\n.", b"\r\n")[2:]
        for recipients in (
            [[to] for to in self.recipients] if self.server.lmtp else [self.recipients]
        ):
            await self.judge(Message(self.sender or "", recipients, content))
        self.sender, self.recipients = None, []

    async def judge(self, message: Message) -> None:
        number = len(self.server.messages) + 1
        try:
            await self.do("CONTENT", f"250 2.0.0 Ok: queued as {number:05X}")
        finally:  # also where the script ends the connection right after its 250
            if self.code == 250:
                self.server.messages.append(message)

    async def on_rset(self, line: str) -> None:
        self.sender, self.recipients = None, []
        await self.do("RSET", "250 2.0.0 Forgotten")

    async def on_quit(self, line: str) -> None:
        await self.do("QUIT", "221 2.0.0 Bye")
        await self.flush()
        raise _Ended


def _path(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]
