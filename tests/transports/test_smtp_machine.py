"""A whole conversation, its replies in any order that the RFCs allow and in any pieces, and then garbage.

The server's side is a model of its own: what it may say follows from RFC 5321 and not from our table.
"""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flask_outbox.transports.smtp_lmtp import LmtpProtocol
from flask_outbox.transports.smtp_protocol import (
    MAX_LINE,
    MAX_LINES,
    ProtocolError,
    SmtpProtocol,
)
from flask_outbox.transports.smtp_sasl import Credentials, Login
from flask_outbox.transports.smtp_states import Command, State

from .conversing import ENVELOPE

_TEXTS = st.sampled_from([b"ok", b"5.1.1 no", b"", b"2.0.0", b"caf\xe9 \0", b"x" * 600])
_OFTEN = st.sampled_from([True, True, True, False])
_SHARES = st.sampled_from([1, 1, 0.9, 0.4, 0])
_ENDS = st.sampled_from([b"\r\n", b"\n"])
_GARBAGE = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.sampled_from([b"250 ok\r\n", b"250-" + b"\n250-" * 400, b"y" * 5_000, b"354 go\r\n", b"\n"]),
)
_ENVELOPE = ("MAIL", "RCPT", "RCPT", "DATA")

#: What a client would say next, by where it is.
_NEXT = {
    State.GREETED: ["EHLO", "LHLO", "EHLO", "LHLO", "HELO", "NOOP"],
    State.READY: [*["ENVELOPE"] * 6, "MAIL", "NOOP", "RSET", "AUTH", "STARTTLS"],
    State.CHALLENGED: ["RESPONSE", "CANCEL"],
    State.SENDER: ["RCPT", "RCPT", "RSET", "DATA", "ENVELOPE"],
    State.RECIPIENT: ["DATA", "DATA", "RCPT", "NOOP", "ENVELOPE"],
    State.DATA: ["CONTENT"],
}
_ANYTHING = [command.name for command in Command if command.name not in ("GREETING", "VERDICT")]

#: Steps before which nobody leaves and nothing is garbled.
_CALM = 15


class Conversation(RuleBasedStateMachine):
    """A client that says whatever it may, and a server that says whatever it may."""

    @initialize(lmtp=st.booleans(), pipelining=_OFTEN, opened=_OFTEN)
    def connect(self, lmtp: bool, pipelining: bool, opened: bool) -> None:
        self.protocol = LmtpProtocol() if lmtp else SmtpProtocol()
        self.lmtp = lmtp
        self.announced = [b"mail.example", b"AUTH LOGIN", b"STARTTLS"]
        self.announced += [b"PIPELINING"] if pipelining else []
        self.unanswered = deque(["GREETING"])
        self.outbox = b""
        self.written = self.delivered = self.steps = 0
        self.promised: deque[tuple[int, str, int, tuple[bytes, ...]]] = deque()
        self.gone = self.garbled = self.unasked = self.handshake = False
        self.mail, self.accepted = False, 0
        if opened:
            self.greet()

    def greet(self) -> None:
        hello = "LHLO" if self.lmtp else "EHLO"
        self._write(self.unanswered.popleft(), 220, [b"mail.example"], b"\r\n")
        self.deliver(1)
        self.say(hello)
        self._write(self.unanswered.popleft(), 250, self.announced, b"\r\n")
        self.deliver(1)

    # -- the client --------------------------------------------------------------------------

    @precondition(lambda self: self.protocol.state in _NEXT)
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        # What was sent ahead counts as done.
        self.say(data.draw(st.sampled_from(_NEXT.get(self.protocol._ahead, ["QUIT"]))))

    @rule(command=st.sampled_from(_ANYTHING))
    def say(self, command: str) -> None:
        """Say it, if it fits; if it does not, that changes nothing."""
        self.steps += 1
        before = (self.protocol.state, len(self.protocol._sent))
        reset = command == "ENVELOPE" and self.protocol.in_transaction
        try:
            said = self._bytes(command)
        except RuntimeError:
            assert (self.protocol.state, len(self.protocol._sent)) == before
            return
        assert self.protocol.pipelining or (before[1], said.count(b"\r\n")) == (0, 1)
        if command == "CONTENT":
            self.unanswered.extend(["VERDICT"] * self.accepted if self.lmtp else ["CONTENT"])
        elif command == "ENVELOPE":
            self.unanswered.extend([*(["RSET"] if reset else []), *_ENVELOPE])
        else:
            self.unanswered.append(command)

    def _bytes(self, command: str) -> bytes:
        protocol = self.protocol
        if command == "ENVELOPE":
            return protocol.envelope(ENVELOPE)
        if command == "CONTENT":
            return b"".join(protocol.content(b""))
        if command == "MAIL":
            return protocol.mail(ENVELOPE)
        if command == "RCPT":
            return protocol.rcpt(ENVELOPE, "a@example.net")
        if command == "AUTH":
            return protocol.auth("LOGIN", Login(Credentials("me", "secret")))
        return protocol.send(Command[command], "x")

    @precondition(lambda self: self.protocol.state is State.HANDSHAKE)
    @rule()
    def secure(self) -> None:
        self.protocol.secured()
        self.handshake = False
        assert not self.protocol.capabilities

    @precondition(lambda self: self.protocol.may(Command.MAIL) and self.protocol.pipelining)
    @precondition(lambda self: not (self.gone or self.outbox))
    @rule(data=st.data())
    def letters(self, data: st.DataObject) -> None:
        """Letters one after the other, each envelope sent with the content before it."""
        self.say("ENVELOPE")
        while self.unanswered and not self.gone:
            self.reply(data, [], b"\r\n", data.draw(_SHARES))
            if self.unanswered or self.gone or not self.outbox:
                continue
            self.deliver(1)
            if self.protocol.state is State.DATA:
                self.say("CONTENT")
                if data.draw(_OFTEN):
                    self.say("ENVELOPE")

    # -- the server --------------------------------------------------------------------------

    @precondition(lambda self: self.unanswered and not self.gone)
    @rule(data=st.data(), more=st.lists(_TEXTS, max_size=2), end=_ENDS, share=_SHARES)
    def reply(self, data: st.DataObject, more: list[bytes], end: bytes, share: float) -> None:
        """To the oldest command, what it may say; 421 it may say at any time (RFC 5321 §3.8)."""
        command = self.unanswered.popleft()
        bye = data.draw(st.integers(0, 60)) == 60
        code = 421 if bye else data.draw(st.sampled_from(self._may_say(command)))
        self._enter(command, code)
        lines = self.announced if command in ("EHLO", "LHLO") and code == 250 else [*more, b"end"]
        self._write(command, code, lines, end)
        if share:
            self.deliver(share)

    @precondition(lambda self: self.steps > _CALM)
    @precondition(lambda self: not (self.unanswered or self.gone or self.handshake))
    @rule()
    def leave(self) -> None:
        """421, unasked."""
        self.gone = self.unasked = True
        self._write("QUIT", 421, [b"bye"], b"\r\n")

    def _may_say(self, command: str) -> list[int]:
        usual = [250, 250, 250, 450, 550]
        possible = {
            "GREETING": [220, 220, 220, 220, 220, 220, 554],
            "HELO": [250, 550],
            "EHLO": [250, 250, 500],
            "LHLO": [250, 250, 500],
            "STARTTLS": [220, 454],
            "AUTH": [334, 334, 235, 535],
            "RESPONSE": [334, 235, 535],
            "CANCEL": [501],
            "RSET": [250, 250],
            "QUIT": [221],
            "NOOP": [250, 500],
            "MAIL": [503] if self.mail else usual,
            "RCPT": usual if self.mail else [503],
            "DATA": [354, 354, 354, 451],
        }
        if command == "DATA" and not self.accepted:
            return [503, 554] if self.lmtp or not self.mail else [354, 554]
        return possible.get(command, usual)

    def _enter(self, command: str, code: int) -> None:
        self.gone = self.gone or code == 421 or command == "QUIT"
        self.gone = self.gone or (command == "GREETING" and code > 400)
        if command == "STARTTLS" and code == 220:
            self.handshake = True
        elif command == "MAIL" and code == 250:
            self.mail, self.accepted = True, 0
        elif command == "RCPT" and code == 250:
            self.accepted += 1
        elif command in ("RSET", "CONTENT", "VERDICT"):
            self.mail = False
            self.accepted = 0

    def _write(self, command: str, code: int, lines: list[bytes], end: bytes) -> None:
        *first, last = lines
        text = b"".join(b"%d-%b%b" % (code, line, end) for line in first)
        text += b"%d %b%b" % (code, last, end)
        self.outbox += text
        self.written += len(text)
        self.promised.append((self.written, command, code, tuple(lines)))

    # -- what is between them ----------------------------------------------------------------

    @precondition(lambda self: self.outbox)
    @rule(share=_SHARES)
    def deliver(self, share: float) -> None:
        """Some of it arrives: the replies that it completes are told, each with its own command, and no others."""
        count = max(1, round(share * len(self.outbox)))
        piece, self.outbox = self.outbox[:count], self.outbox[count:]
        if self.garbled:
            self._feed(piece)
            return
        self.delivered += count
        told = [
            (reply.command.name, reply.code, reply.lines) for reply in self.protocol.feed(piece)
        ]
        due = []
        while self.promised and self.promised[0][0] <= self.delivered:
            _, command, *reply = self.promised.popleft()
            if self.unasked and not self.promised and self.unanswered:
                command = self.unanswered[0]  # what was said meanwhile gets the 421
            due.append((command, *reply))
        assert told == due

    @precondition(lambda self: self.steps > _CALM)
    @rule(garbage=_GARBAGE)
    def garble(self, garbage: bytes) -> None:
        """From here on the server may say anything."""
        self.garbled = self.gone = True
        self.outbox += garbage

    def _feed(self, piece: bytes) -> None:
        outstanding = len(self.protocol._sent)
        told = 0
        try:
            for _ in self.protocol.feed(piece):
                told += 1
        except ProtocolError:
            assert self.protocol.state is State.CLOSED
            assert list(self.protocol.feed(b"250 ok\r\n")) == []
        assert told <= outstanding + 1  # 421 needs no command

    @invariant()
    def little_is_kept(self) -> None:
        if self.protocol.state is State.CLOSED:
            return
        assert len(self.protocol._rest) <= MAX_LINE
        assert len(self.protocol._lines) <= MAX_LINES

    @invariant()
    def no_reply_is_waited_for_that_is_not_to_come(self) -> None:
        if not self.garbled and self.protocol.state is not State.CLOSED:
            due = len(self.unanswered) + len(self.promised) - self.unasked
            assert len(self.protocol._sent) == due

    @invariant()
    def nothing_is_said_after_the_end(self) -> None:
        if self.protocol.state is State.CLOSED:
            assert not any(self.protocol.may(command) for command in Command)


Conversation.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestConversation = Conversation.TestCase
