"""One connection of a scripted server: the plain server that a script changes."""

from __future__ import annotations

import asyncio
import base64
import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .acts import Act, Deed, Drip, Ended

if TYPE_CHECKING:
    from .scripted import Examiner, ScriptedServer, Session


class Conversation:
    """What is said on a connection, until one of the two ends it."""

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
            raise Ended
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
        self.forget()
        self.session.commands.append(line.decode())
        return line.decode()

    def forget(self) -> None:
        """Lose what came ahead of the reply, where that is this server's way."""
        if self.server.forgetful:
            self.heard = b""

    async def do(self, step: str, plain: str, *, about: str = "") -> int:
        """Reply as the script wants, or plainly; returns the code of the reply."""
        item = self.server.scripted(f"{step} {about}") if about else None
        if item is None:
            item = self.server.scripted(step)
        self.answered.append(step)
        self.code = 0
        for action in item if isinstance(item, tuple) else (item,):
            if isinstance(action, Act) and action in (Act.PLAIN, Act.HALF):
                reply = _line_ends(plain)
                self.say(reply if action is Act.PLAIN else reply[: len(reply) // 2])
            elif action is None or isinstance(action, str):
                self.say(_line_ends(plain if action is None else action))
            elif isinstance(action, bytes):
                self.say(action)
            else:
                await self.act(action)
        return self.code

    def say(self, reply: bytes) -> None:
        self.said += reply
        self.code = _code(reply)

    async def act(self, action: Act | Deed) -> None:
        await self.flush()
        if action is Act.RESET:
            self.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        if action in (Act.DROP, Act.RESET):
            raise Ended
        if isinstance(action, Deed):
            if isinstance(action, Drip):
                self.code = _code(action.data)
            await action.perform(self.writer)
        else:
            self.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a socket's
            await asyncio.Event().wait()

    # -- the opening -------------------------------------------------------------------------------------------

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
        if self.server.scripts("AUTH"):
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

    # -- a message ---------------------------------------------------------------------------------------------

    async def on_mail(self, line: str) -> None:
        self.sender, self.recipients = None, []
        if await self.do("MAIL", "250 2.1.0 Sender ok") == 250:
            self.sender = _path(line)

    async def on_rcpt(self, line: str) -> None:
        plain = "503 5.5.1 MAIL first" if self.sender is None else "250 2.1.5 Recipient ok"
        if await self.do("RCPT", plain, about=_path(line)) == 250:
            self.recipients.append(_path(line))

    async def on_data(self, line: str) -> None:
        plain = "354 Go on" if self.recipients else "554 5.5.1 No valid recipients"
        if await self.do("DATA", plain) != 354:
            return
        await self.flush()
        content = await self.content()
        for recipients in (
            [[to] for to in self.recipients] if self.server.lmtp else [self.recipients]
        ):
            await self.judge(recipients, content)
        self.sender, self.recipients = None, []

    async def content(self) -> bytes:
        """What follows DATA, without the dots that SMTP adds."""
        whole, searched = bytearray(b"\r\n" + self.heard), 0
        while (end := whole.find(b"\r\n.\r\n", searched)) < 0:
            searched = max(0, len(whole) - 4)  # of a large one, no byte is looked at twice
            self.heard = b""
            await self.more()
            whole += self.heard
            if (act := self.server.scripted("MIDDLE")) is not None:
                assert isinstance(act, Act | Deed)
                await self.act(act)
        self.heard = bytes(whole[end + 5 :])
        self.forget()
        return bytes(whole[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]

    async def judge(self, recipients: list[str], content: bytes) -> None:
        number = len(self.server.messages) + 1
        try:
            await self.do("CONTENT", f"250 2.0.0 Ok: queued as {number:05X}")
        finally:  # also where the script ends the connection within its 250, or right after it
            if self.code == 250:
                self.server.take(self.sender or "", recipients, content)

    async def on_rset(self, line: str) -> None:
        self.sender, self.recipients = None, []
        await self.do("RSET", "250 2.0.0 Forgotten")

    async def on_quit(self, line: str) -> None:
        await self.do("QUIT", "221 2.0.0 Bye")
        await self.flush()
        raise Ended


def _line_ends(reply: str) -> bytes:
    return reply.replace("\n", "\r\n").encode() + b"\r\n"


def _code(reply: bytes) -> int:
    return int(reply[:3]) if reply[:3].isdigit() else 0


def _path(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]
