"""SMTP as a client speaks it, without a socket: commands become bytes, bytes become answers.

The rules:

1. What may follow what stands in :mod:`.smtp_states`. A command that does not fit there is a bug
   here (RuntimeError), a reply that does not fit is the server's (:class:`ProtocolError`).
2. Every reply belongs to the oldest command without one. A reply to nothing is an error, but for
   421, by which a server may end the connection at any time (RFC 5321 §3.8).
3. Commands may be sent ahead of replies, to the limit of RFC 2920, only after the server announced
   PIPELINING. Whether such a command fits is judged as if everything before it succeeded.
4. After the server agreed to STARTTLS not one byte may follow in the clear: whoever put it there
   is not the server.
5. No parameter holds CR, LF or NUL, no content ends early, and what a server can make us keep is
   bounded.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

from ..errors import AddressError, BadHeaderError
from ..mail.content import Composed
from ..rules.outcomes import Outcome
from ..rules.replies import Step, outcome
from .smtp_sasl import Exchange
from .smtp_states import STEPS, Command, State

#: RFC 5321 §4.5.3.1.5 gives a reply line 512 octets; servers exceed it.
MAX_LINE = 4_096
MAX_LINES = 256

#: RFC 5321 §4.5.3.1.4, including CRLF.
MAX_COMMAND = 512

#: Those that the server answers with what it can.
_GREETINGS = (Command.EHLO, Command.LHLO)

#: What follows these depends on the reply, with PIPELINING too (RFC 2920 §3.1, RFC 4954 §4).
_AWAITED = (*_GREETINGS, Command.HELO, Command.AUTH, Command.RESPONSE, Command.CANCEL)

#: What ends a content; alone, a content that has nothing in it.
LONE_DOT = b".\r\n"

_ENHANCED = re.compile(rb"([245]\.\d{1,3}\.\d{1,3})(?: |$)").match
_REPLY_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([^\r]*))?\r?").fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search
_OPTION = re.compile(r"[!-~]+").fullmatch
_ATOM = r"[^\x00-\x20\x7f<>\"\ud800-\udfff]"
_QUOTED = r'"(?:[^\x00-\x1f\x7f"\\\ud800-\udfff]|\\[ -~])*"'
_PATH = re.compile(rf"(?:{_ATOM}+|{_QUOTED})(?:@{_ATOM}+)?").fullmatch
_BARE_LINE_END = re.compile(rb"\r\n|\r|\n")

C = TypeVar("C", bound=Composed)

#: Option of MAIL or RCPT -> the keyword by which a server announces that it knows it (RFC 3461, 6152, 6531, 1870).
_EXTENSIONS = {
    **dict.fromkeys(("RET", "ENVID", "NOTIFY", "ORCPT"), "DSN"),
    "BODY": "8BITMIME",
    "SMTPUTF8": "SMTPUTF8",
    "SIZE": "SIZE",
}


class ProtocolError(Exception):
    """The server does not speak SMTP, or not what fits here. The text is fit for a log."""


class Reply(NamedTuple):
    """A reply, with the command it belongs to.

    :param lines: without code, separator and line end.
    """

    command: Command
    code: int
    lines: tuple[bytes, ...]

    def status_and_text(self) -> tuple[str, str]:
        """The RFC 3463 status where it agrees with the code, and the lines joined without it."""
        found = _ENHANCED(self.lines[0])
        status = found[1] if found and found[1][0] == ord("0") + self.code // 100 else b""
        text = b" ".join([line.removeprefix(status).strip() for line in self.lines])
        return status.decode(), text.decode("utf-8", "replace")

    def meaning(self, step: Step) -> Outcome:
        """The outcome that it stands for."""
        return outcome(step, self.code, *self.status_and_text())


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is said of a message before its content.

    :param sender: the reverse-path; "" is the null path.
    :param size: octets of the content, without the dots that are added (RFC 1870 §3).
    :param eight_bit: the content is not ASCII.
    :param utf8: the message needs SMTPUTF8 (RFC 6531).
    :raises BadHeaderError: CR, LF, NUL or another control where none may be.
    :raises AddressError: a path that would end early or hold a second parameter.
    """

    sender: str
    recipients: tuple[str, ...]
    size: int
    eight_bit: bool = False
    utf8: bool = False
    mail_options: tuple[str, ...] = ()
    rcpt_options: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """Those for MAIL and those for each RCPT."""
        return self.mail_options + self.rcpt_options

    def __post_init__(self) -> None:
        for path in (self.sender or "null", *self.recipients):
            if not _PATH(path) or not (self.utf8 or path.isascii()):
                _check_text(path, "an address")
                raise AddressError("An envelope address does not fit into an SMTP command.")
        for option in self.options:
            if not _OPTION(option):
                raise BadHeaderError(
                    "An SMTP option holds white space, a control or more than ASCII."
                )


def _check_text(text: str, what: str) -> None:
    if _CONTROL(text):
        raise BadHeaderError(f"CR, LF, NUL or another control in {what} for SMTP.")


def mend(content: bytes) -> bytes:
    """The content with CRLF for every line end, and one at its end.

    A server that takes a bare CR or LF for a line end would see the final dot too early, and what
    follows it as commands.
    """
    if not content.count(b"\r\n") == content.count(b"\n") == content.count(b"\r"):
        content = _BARE_LINE_END.sub(b"\r\n", content)
    return content if content.endswith(b"\r\n") or not content else content + b"\r\n"


def stuffed(content: bytes) -> bytes:
    """A mended content as it follows DATA: leading dots doubled (RFC 5321 §4.5.2); not copied where there are none."""
    first = b"." if content.startswith(b".") else b""
    return first + content.replace(b"\r\n.", b"\r\n..")


class SmtpProtocol:
    """One connection's conversation."""

    def __init__(self) -> None:
        self.state = State.CONNECTED
        #: Keyword in capitals -> its parameters, as EHLO announced them.
        self.capabilities: dict[str, str] = {}
        self._sent: deque[Command] = deque([Command.GREETING])
        self._ahead = State.CONNECTED
        self._rest = b""
        self._lines: tuple[bytes, ...] = ()
        #: What was said to log in, as it went over the wire: not for a log.
        self.secrets: list[str] = []

    # -- receiving ---------------------------------------------------------------------------

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Take what was received and yield the replies it completes; exhaust it before the next.

        :raises ProtocolError: the server breaks the rules; what came before was still yielded.
        """
        if self.state is State.CLOSED:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not STEPS[self.state]:
                if self.state is State.HANDSHAKE:
                    raise self._error("bytes in the clear after STARTTLS was agreed")
                return
            found = _REPLY_LINE(line)
            if not found or len(line) > MAX_LINE:
                raise self._error("a line that is not an SMTP reply")
            code, separator, text = found.groups(b"")
            self._lines += (text,)
            if separator != b"-":
                # Where the lines of a reply disagree, the last one's code counts.
                yield self._reply(int(code))
            elif len(self._lines) > MAX_LINES:
                raise self._error("a reply without an end")
        if self._rest and self.state is State.HANDSHAKE:
            raise self._error("bytes in the clear after STARTTLS was agreed")
        if len(self._rest) > MAX_LINE:
            raise self._error("a reply line without an end")

    def _reply(self, code: int) -> Reply:
        """The reply that is complete, with its command; the state that follows is entered."""
        lines, self._lines = self._lines, ()
        if code == 421:
            self.state = self._ahead = State.CLOSED
            return Reply(self._sent.popleft() if self._sent else Command.QUIT, code, lines)
        if not self._sent:
            raise self._error(f"a reply to nothing: {code}")
        command = self._sent.popleft()
        following = STEPS[self.state].get(command, {}).get(code // 100)
        if following is None:
            raise self._error(f"a reply that does not fit {command.name}: {code}")
        self.state = following
        if command in _GREETINGS and code < 300:
            self.capabilities = _capabilities(lines[1:])
        if not self._sent:
            self._ahead = following
        return Reply(command, code, lines)

    def _error(self, text: str) -> ProtocolError:
        self.state = self._ahead = State.CLOSED
        self._rest, self._lines = b"", ()
        return ProtocolError(f"the server sent {text}")

    # -- sending -----------------------------------------------------------------------------

    @property
    def pipelining(self) -> bool:
        """Whether the server takes commands ahead of its replies."""
        return "PIPELINING" in self.capabilities

    @property
    def verdicts(self) -> int:
        """How many replies a content has."""
        return 1

    @property
    def in_transaction(self) -> bool:
        """Whether a MAIL command is to be undone before the next one."""
        return self.state in (State.SENDER, State.RECIPIENT)

    def may(self, command: Command) -> bool:
        """Whether the command fits now, with no reply outstanding."""
        return not self._sent and command in STEPS[self.state]

    def send(self, command: Command, argument: str = "") -> bytes:
        """One command as bytes.

        :raises BadHeaderError: CR, LF, NUL or another control in the argument.
        :raises RuntimeError: the command does not fit here: a bug in the caller.
        """
        _check_text(argument, "a parameter")
        self._register(command)
        verb = "" if command in (Command.RESPONSE, Command.CANCEL) else command.name
        return f"{verb} {argument}".strip().encode() + b"\r\n"

    def mail(self, envelope: Envelope) -> bytes:
        """MAIL FROM with the parameters that the server announced."""
        self._register(Command.MAIL)
        return self._mail(envelope).encode()

    def rcpt(self, envelope: Envelope, recipient: str) -> bytes:
        """RCPT TO for one of the envelope's recipients."""
        self._register(Command.RCPT)
        return self._rcpt(envelope, recipient).encode()

    def envelope(self, envelope: Envelope) -> bytes:
        """All that goes before the content, in one group (RFC 2920 §3.1)."""
        recipients = envelope.recipients
        group = (Command.MAIL, *[Command.RCPT] * len(recipients), Command.DATA)
        lines = [self._mail(envelope), *[self._rcpt(envelope, to) for to in recipients]]
        if self.in_transaction:
            group = (Command.RSET, *group)
            lines.insert(0, "RSET\r\n")
        self._register(*group)
        return "".join(lines).encode() + b"DATA\r\n"

    def _mail(self, envelope: Envelope) -> str:
        options = f" SIZE={envelope.size}" if "SIZE" in self.capabilities else ""
        if envelope.eight_bit and "8BITMIME" in self.capabilities:
            options += " BODY=8BITMIME"
        if envelope.utf8:
            options += " SMTPUTF8"
        if envelope.mail_options:
            said = {_keyword(option) for option in options.split()}
            given = self._allowed(envelope.mail_options)
            options += "".join([f" {option}" for option in given if _keyword(option) not in said])
        return f"MAIL FROM:<{envelope.sender}>{options}\r\n"

    def _rcpt(self, envelope: Envelope, recipient: str) -> str:
        options = "".join([f" {option}" for option in self._allowed(envelope.rcpt_options)])
        return f"RCPT TO:<{recipient}>{options}\r\n"

    def content(self, content: C) -> tuple[C, bytes]:
        """The content, as :func:`stuffed` made it or makes its pieces, and what ends it."""
        self._register_content(Command.CONTENT)
        return content, LONE_DOT

    def left_out(self, envelope: Envelope) -> list[str]:
        """The envelope's options that this server is not told, as it did not announce that it knows them."""
        return [option for option in envelope.options if not self._announced(option)]

    def auth(self, mechanism: str, exchange: Exchange) -> bytes:
        """AUTH, with the first response where the mechanism has one and the line's length allows it (RFC 4954 §4)."""
        argument = mechanism
        if exchange.unsaid is not None:
            # An empty one would look like none.
            longer = f"{mechanism} {self._secret(exchange.unsaid) or '='}"
            if len(f"AUTH {longer}\r\n") <= MAX_COMMAND:
                argument, exchange.unsaid = longer, None
        return self.send(Command.AUTH, argument)

    def respond(self, response: bytes) -> bytes:
        """The answer to a challenge."""
        return self.send(Command.RESPONSE, self._secret(response))

    def _secret(self, said: bytes) -> str:
        text = b64encode(said).decode()
        if text:
            self.secrets.append(text)
        return text

    def secured(self) -> None:
        """TLS stands: what was announced in the clear is forgotten (RFC 3207 §4.2)."""
        if self.state is not State.HANDSHAKE:
            raise RuntimeError("TLS without STARTTLS")
        self.state = self._ahead = State.GREETED
        self.capabilities = {}

    def _register(self, *commands: Command) -> None:
        """Note what is about to be sent, if it fits."""
        if (self._sent or len(commands) > 1) and not self.pipelining:
            raise RuntimeError(f"{commands[0].name} ahead of a reply, without PIPELINING")
        if self._sent and self._sent[-1] in _AWAITED:
            raise RuntimeError(f"{commands[0].name} ahead of the reply to {self._sent[-1].name}")
        self._await(commands)

    def _register_content(self, *replies: Command) -> None:
        if self._sent or self.state is not State.DATA:
            raise RuntimeError("the content without the reply to DATA that asks for it")
        self._await(replies)

    def _await(self, commands: tuple[Command, ...]) -> None:
        self._ahead = _state_after(self._ahead, commands)
        self._sent.extend(commands)

    def _allowed(self, options: tuple[str, ...]) -> Sequence[str]:
        """Those that the server knows, or that only it can know."""
        return [option for option in options if self._announced(option)] if options else options

    def _announced(self, option: str) -> bool:
        extension = _EXTENSIONS.get(_keyword(option))
        return extension is None or extension in self.capabilities


def _keyword(option: str) -> str:
    return option.partition("=")[0].upper()


@lru_cache
def _state_after(state: State, commands: tuple[Command, ...]) -> State:
    """Where the commands lead if all of them succeed.

    :raises RuntimeError: one does not fit where it stands.
    """
    for command in commands:
        replies = STEPS[state].get(command, {})
        following = replies.get(2) or replies.get(3)
        if following is None:
            raise RuntimeError(f"{command.name} does not fit after {state.name}")
        state = following
    return state


def _capabilities(lines: Iterable[bytes]) -> dict[str, str]:
    """EHLO's keywords. ``AUTH=LOGIN``, from before RFC 2554, counts as ``AUTH LOGIN``."""
    found: dict[str, str] = {}
    for line in lines:
        text = line.decode("ascii", "replace").replace("AUTH=", "AUTH ", 1).strip()
        keyword, _, parameters = text.partition(" ")
        keyword = keyword.upper()
        found[keyword] = f"{found.get(keyword, '')} {parameters}".strip()
    return found
