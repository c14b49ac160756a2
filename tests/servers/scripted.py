"""An SMTP server that does exactly what a test tells it to, in a thread of its own.

Without a script it is a plain server with pipelining that takes everything. A script names steps and what is
done there instead::

    with ScriptedServer(script={"RCPT": ["550 5.1.1 Nobody", None], "CONTENT": DROP}) as server: ...

A step is a command's verb, ``GREETING``, ``RESPONSE`` (in AUTH), ``MIDDLE`` (of a content) or ``CONTENT``; with
``RCPT you@example.net`` it is this recipient's alone. A value is done each time; a list is used up, one item a time;
None is what the plain server does. A tuple is done in order. What can be done besides replying is in :mod:`.acts`.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from .acts import DEADLINE, DROP, HALF, HANG, PLAIN, RESET, Drip, Ended, Flood, Gate, Item, Script
from .conversation import Conversation

__all__ = [
    "CAPABILITIES",
    "DROP",
    "HALF",
    "HANG",
    "PLAIN",
    "RESET",
    "Drip",
    "Examiner",
    "Flood",
    "Gate",
    "Item",
    "Message",
    "Script",
    "ScriptedServer",
    "Session",
]

CAPABILITIES = ("PIPELINING", "SIZE 50000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")

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
    :param forgetful: what comes ahead of a reply is lost, whatever was announced.
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
        forgetful: bool = False,
    ) -> None:
        self.capabilities = list(capabilities)
        self.accounts = dict(accounts or {})
        self.mechanisms = mechanisms
        self.tls = tls
        self.implicit = implicit
        self.examiners = dict(examiners or {})
        self.lmtp = lmtp
        self.socket = socket
        self.forgetful = forgetful
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

    # -- for a conversation ------------------------------------------------------------------------------------

    def scripts(self, step: str) -> bool:
        """Whether the script has anything to say about this step."""
        return step in self._script

    def scripted(self, step: str) -> Item:
        """What the script wants at this step, this time."""
        item = self._script.get(step)
        if isinstance(item, list):
            return item.pop(0) if item else None
        return item

    def take(self, sender: str, recipients: list[str], content: bytes) -> None:
        """A message was accepted."""
        self.messages.append(Message(sender, recipients, content))

    # -- its own -----------------------------------------------------------------------------------------------

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
            await Conversation(self, session, reader, writer).hold()
        except (ConnectionError, ssl.SSLError, Ended, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()
