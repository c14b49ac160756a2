"""One socket that speaks SMTP: bytes to asyncio, answers from the protocol, TLS, and patience that ends."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast

from ..mail.content import Content
from ..rules.outcomes import Kind, Outcome, Scope
from ..rules.replies import Step, one_line
from .smtp_dial import dial
from .smtp_protocol import ProtocolError, Reply, SmtpProtocol, mend, stuffed
from .smtp_settings import SmtpSettings
from .smtp_states import Command
from .smtp_transcript import Note, Opening, log_heard, log_sent, transcript

_VERDICTS = (Command.CONTENT, Command.VERDICT)

#: What is wrong with a certificate whoever made it (x509_vfy.h): it is over, for another name or address.
_OTHERWISE = (10, 62, 64)


class Broken(Exception):
    """The connection is of no further use.

    :param outcome: what that means for a letter whose content had not left.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome


class HandshakeFailed(Broken):
    """TLS was agreed on, and then could not be set up."""


def lost(text: str, cause: str = "SMTPServerDisconnected") -> Broken:
    """The road failed, and may be there again later."""
    return Broken(Outcome(Kind.DEFERRED, Scope.TRANSPORT, text=one_line(text), cause=cause))


class Wire(asyncio.Protocol):
    """A socket with an SMTP conversation on it. One coroutine reads from it at a time.

    :param on_verdict: told of the reply to a content as soon as it is here, before any coroutine runs:
        whoever waits for that letter may then have the next one ready when the connection goes on.
    """

    def __init__(self, protocol: SmtpProtocol, on_verdict: Callable[[Reply], None]) -> None:
        self.protocol = protocol
        self._on_verdict = on_verdict
        #: Why it is of no further use, once it is.
        self.broken: Broken | None = None
        self._lost: Broken | None = None  # the same, where it was not ended from here
        #: Whether bytes wait here because the kernel does not take them yet.
        self.paused = False
        #: Whether there are more bytes of a large content to come.
        self.pouring = False
        #: Where to note what is said while it is opened, and later what is heard of a letter.
        self.opening: Opening | None = None
        self.notes: list[Note] | None = None
        self._loop = asyncio.get_running_loop()
        self.clock = self._loop.time
        self._transport: asyncio.Transport | None = None
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[bool] | None = None
        self._wanted = 0  # replies, before the waiter is worth waking
        self._patience = 0.0
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # -- what asyncio calls ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._use(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        heard, now = len(self._replies), self.clock()
        try:
            for reply in self.protocol.feed(data):
                self._replies.append(reply)
                if self.notes is not None:
                    self.notes.append((now, reply))
                elif self.opening is not None:
                    self.opening.heard(now, reply)
                if transcript.isEnabledFor(logging.DEBUG):
                    log_heard(reply)
                if reply.command in _VERDICTS:
                    self._on_verdict(reply)
                if reply.code == 421:
                    self.abort(Broken(reply.meaning(Step.MAIL)))
        except ProtocolError as error:
            self.abort(lost(str(error)))
        if len(self._replies) > heard:
            # A reply, not a byte: one that never ends must not be waited for without end.
            self._deadline = now + self._patience
        if len(self._replies) >= self._wanted:
            self.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        why = _reason(exc) if isinstance(exc, OSError) else "the server closed it"
        self._lost = lost(f"connection lost: {why}")
        self.abort(self._lost)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.wake()

    # -- what a connection calls -------------------------------------------------------------

    @property
    def local_address(self) -> str:
        """This end's address as EHLO names it where there is no better name (RFC 5321 §4.1.3)."""
        name = self._transport.get_extra_info("sockname") if self._transport else None
        # A Unix socket's own is no pair.
        address = name[0] if isinstance(name, tuple) else "127.0.0.1"
        return f"[IPv6:{address}]" if ":" in address else f"[{address}]"

    @property
    def connected(self) -> bool:
        """Whether somebody took the connection, be it lost since."""
        return self._transport is not None

    @property
    def encryption(self) -> ssl.SSLObject | None:
        """The TLS that it is, or was, encrypted by."""
        tls: ssl.SSLObject | None = None
        if self._transport is not None:
            tls = self._transport.get_extra_info("ssl_object")
        return tls

    async def connect(self, settings: SmtpSettings, seconds: float) -> None:
        """:raises Broken: nobody was reached."""
        try:
            async with asyncio.timeout(seconds):
                if settings.socket:
                    await self._loop.create_unix_connection(lambda: self, settings.socket)
                else:
                    sock = await dial(settings.host, settings.port, settings.source_address)
                    await self._loop.create_connection(lambda: self, sock=sock)
        except TimeoutError:
            raise lost(
                f"{settings.name}: no connection within {seconds:g} s", "TimeoutError"
            ) from None
        except OSError as error:
            raise lost(f"{settings.name}: {_reason(error)}", type(error).__name__) from error
        self._remark(f"connected to {_peer(self._transport) or settings.name}")

    async def start_tls(self, context: ssl.SSLContext, host: str, seconds: float) -> None:
        """Encrypt from here on.

        :raises HandshakeFailed: no TLS came about.
        :raises Broken: the server's certificate is not trusted.
        """
        self.check()
        assert self._transport is not None
        if self._replies:
            # uvloop has read it before it was told to encrypt. The other end would wait, and so would the handshake.
            text = f"{host}: TLS failed: WRONG_VERSION_NUMBER, it speaks in the clear"
            plain = lost(text, "SSLError")
            self.abort(plain)
            raise HandshakeFailed(plain.outcome)
        try:
            transport = await self._loop.start_tls(
                self._transport,
                self,
                context,
                server_hostname=host,
                ssl_handshake_timeout=seconds,
            )
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message.rstrip(".")
            text = f"{host}: its certificate is not trusted: {reason}"
            if error.verify_code not in _OTHERWISE:
                text += (
                    "; name its authority in MAIL_TLS_CA, or trust anyone by MAIL_TLS_VERIFY=False"
                )
            raise Broken(
                Outcome(Kind.REFUSED, Scope.TRANSPORT, text=text, cause=type(error).__name__)
            ) from error
        except OSError as error:
            # A handshake that takes too long is a lost connection, too, where uvloop tells of it.
            if self.broken is not self._lost:
                self.check()
            broken = lost(f"{host}: TLS failed: {_reason(error)}", type(error).__name__)
            raise HandshakeFailed(broken.outcome) from error
        self.check()
        assert transport is not None
        self._use(transport)
        session: ssl.SSLObject = transport.get_extra_info("ssl_object")
        self._remark(f"encrypted by {session.version()}")

    def _remark(self, text: str) -> None:
        if self.opening is not None:
            self.opening.remark(self.clock(), text)

    def write(self, *chunks: bytes) -> None:
        """Send.

        :raises Broken: nothing of it was sent.
        """
        self.check()
        if self.opening is not None:
            self.opening.sent(self.clock(), self.protocol.state, chunks)
        if chunks and transcript.isEnabledFor(logging.DEBUG):
            log_sent(self.protocol.state, chunks)
        # Joined here: `writelines` of Python 3.12.0 to 3.13.1 never calls `pause_writing`.
        self._put(b"".join(chunks))

    async def pour(self, content: Content, end: bytes, seconds: float) -> None:
        """Send what is too large to be in memory: each piece when the kernel has taken the one before, or TLS.

        :param seconds: how long nothing at all may move.
        :raises Broken: the end of it was not sent.
        """
        self.check()
        if transcript.isEnabledFor(logging.DEBUG):
            transcript.debug("send: a content of %d bytes", len(content))
        self.pouring = True
        for piece in content:
            self._put(stuffed(mend(piece)))
            if self.paused:
                await self.drain(seconds)
        self._put(end)
        self.pouring = False

    def _put(self, data: bytes) -> None:
        self.check()
        assert self._transport is not None
        self._transport.write(data)
        if self._transport.is_closing():
            self.abort(lost("connection lost"))
            self.check()

    def check(self) -> None:
        """:raises Broken: it is of no further use."""
        if self.broken is not None:
            raise self.broken

    @property
    def speaking(self) -> SmtpProtocol:
        """The conversation, for another command.

        :raises Broken: it is over; a reply that was heard before may not have told.
        """
        self.check()
        return self.protocol

    async def expect(self, count: int, seconds: float, rest: str = "") -> None:
        """Return when so many replies are here, or no more will come.

        :param seconds: how long no reply at all may come.
        :param rest: what did not get one then, where others did.
        """
        while len(self._replies) < count and self.broken is None:
            if not await self.wait(seconds, replies=count):
                what = f" to {rest}" if rest and self._replies else ""
                self.abort(lost(f"no reply within {seconds:g} s{what}", "TimeoutError"))

    def pop(self) -> Reply:
        """The reply to the oldest command without one.

        :raises Broken: it did not come, or it was the end.
        """
        if not self._replies:
            self.check()
        reply = self._replies.popleft()
        if reply.code == 421:
            self.check()
        return reply

    async def answer(self, seconds: float) -> Reply:
        """Await one reply.

        :raises Broken: it will not come: the connection is lost, out of step, or too slow.
        """
        await self.expect(1, seconds)
        return self.pop()

    async def drain(self, seconds: float) -> None:
        """Return when the kernel has taken everything, or there is a reply already.

        :param seconds: how long nothing at all may move.
        """
        while self.paused and not self._replies and self.broken is None:
            assert self._transport is not None
            before = self._transport.get_write_buffer_size()
            in_time = await self.wait(seconds)
            if not in_time and self._transport.get_write_buffer_size() >= before:
                self.abort(lost(f"the server took nothing for {seconds:g} s", "TimeoutError"))

    async def wait(self, seconds: float, *, replies: int = 0) -> bool:
        """Return when anything happens; False when nothing did in that time.

        :param replies: so many have to be here before their coming counts.
        """
        self._patience, self._wanted = seconds, replies
        self._deadline = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            self._arm()
        self._waiter = self._loop.create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def wake(self, in_time: bool = True) -> None:
        """Let whoever waits look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(in_time)

    def abort(self, broken: Broken) -> None:
        """Close at once; the first reason stays."""
        if self.broken is not None:
            return
        self.broken = broken
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        self.wake()

    # -- inside ------------------------------------------------------------------------------

    def _use(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        # No slack: `paused` then says whether the kernel, or TLS, has taken the last byte.
        transport.set_write_buffer_limits(high=1, low=0)
        if self.broken is not None:
            transport.abort()

    def _arm(self) -> None:
        """One timer is pushed along lazily: setting one for each reply costs more than all else."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._deadline:
            self._arm()
        else:
            self.wake(in_time=False)


def own_name() -> str:
    """This machine's name where it is one that EHLO takes, else ""; asks no name server."""
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", name) else ""


def _peer(transport: asyncio.Transport | None) -> str:
    """The other end's address and port, where it has them."""
    name = transport.get_extra_info("peername") if transport else None
    return f"{name[0]} port {name[1]}" if isinstance(name, tuple) else ""


def _reason(error: OSError) -> str:
    """What went wrong, in the system's words; asyncio's own repeat the address."""
    if isinstance(error, (ssl.SSLError, socket.gaierror)):
        return error.strerror or str(error)
    return os.strerror(error.errno) if error.errno else str(error)
