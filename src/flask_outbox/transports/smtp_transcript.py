"""What was said on an SMTP connection: logged for ``MAIL_DEBUG``, and kept for letters that fail.

Never a secret, never a content. What a letter keeps are references to what was said anyway; words are made of them
only where it fails.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..rules.outcomes import Outcome
from ..rules.replies import one_line
from .smtp_protocol import LONE_DOT, Reply
from .smtp_states import Command, State

#: At DEBUG each command and reply is logged.
transcript = logging.getLogger("flask_outbox.smtp")

#: Characters of a line of a transcript, and of the whole.
_WIDEST = 200
_LONGEST = 8_000

_SECRET = (Command.AUTH, Command.RESPONSE)


def log_sent(state: State, chunks: Sequence[bytes]) -> None:
    """Log what is about to be written.

    :param state: of the conversation, before it.
    """
    if LONE_DOT in chunks:
        content, _, *chunks = chunks
        transcript.debug("send: a content of %d bytes", len(content))
    for line in _sent(state, chunks):
        transcript.debug("send: %s", line)


def log_heard(reply: Reply) -> None:
    """Log a reply."""
    for line in _heard(reply):
        transcript.debug("reply: %d %s", reply.code, line)


def _sent(state: State, chunks: Sequence[bytes]) -> Iterator[str]:
    for chunk in chunks:
        if state is State.CHALLENGED:
            yield "***"
            continue
        for line in chunk.decode("utf-8", "replace").splitlines():
            yield " ".join([*line.split()[:2], "***"]) if line.startswith("AUTH ") else line


def _heard(reply: Reply) -> Iterator[str]:
    """Its lines. Those to a login are left out, because servers quote what they do not understand."""
    for line in (b"***",) if reply.command in _SECRET else reply.lines:
        yield line.decode("utf-8", "replace")


# -- kept --------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Opening:
    """How a connection was opened.

    :param began: when, by the loop's clock.
    :param server: its name.
    :param lines: what was said, and when.
    """

    began: float
    server: str
    lines: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.remark(self.began, f"connecting to {self.server}")

    def remark(self, now: float, text: str) -> None:
        """What happened besides."""
        self.lines.append((now, f"* {text}"))

    def sent(self, now: float, state: State, chunks: Sequence[bytes]) -> None:
        """A command, in this state."""
        self.lines += [(now, f"C: {line}") for line in _sent(state, chunks)]

    def heard(self, now: float, reply: Reply) -> None:
        """A reply."""
        self.lines += [(now, line) for line in _reply_lines(reply)]


#: What was said of a letter: commands, the size of its content, a reply, a remark, and at the beginning either how
#: its connection was opened or the opening of the connection that was there already.
Note = tuple[float, "bytes | int | Reply | str | list[tuple[float, str]] | Opening"]


def written(notes: Sequence[Note], failure: Outcome) -> str:
    """The transcript of a letter that failed, each line with the seconds since its connection began to be opened.

    :param failure: its outcome; told at the end where no reply tells it.
    """
    lines: list[str] = []
    began = now = notes[0][0] if notes else 0.0
    for now, what in notes:
        if isinstance(what, list):
            began = what[0][0]
            lines += [_line(at - began, text) for at, text in what]
        elif isinstance(what, Opening):
            began = what.began
            lines.append(
                _line(now - began, f"* over a connection to {what.server} that was open already")
            )
        else:
            lines += [_line(now - began, text) for text in _texts(what)]
    if not failure.code or failure.cause == "auth":
        lines.append(_line(now - began, f"* {failure}"))
    return _bounded(lines)


def _texts(what: bytes | int | Reply | str) -> Iterator[str]:
    if isinstance(what, int):
        yield f"C: <{what:,} bytes>"
    elif isinstance(what, bytes):
        yield from (f"C: {line}" for line in what.decode("utf-8", "replace").splitlines())
    elif isinstance(what, str):
        yield f"* {what}"
    else:
        yield from _reply_lines(what)


def _reply_lines(reply: Reply) -> Iterator[str]:
    *others, last = _heard(reply)
    yield from (f"S: {reply.code}-{line}" for line in others)
    yield f"S: {reply.code} {last}"


def _line(seconds: float, text: str) -> str:
    text = one_line(text)
    shown = text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
    return f"{seconds:8.3f} {shown}"


def _bounded(lines: list[str]) -> str:
    """All of them, or as many of the first and of the last as there is room for."""
    if sum(map(len, lines)) + len(lines) <= _LONGEST:
        return "\n".join(lines)
    half = _LONGEST // 2 - 50
    first, last = _fitting(lines, half), _fitting(lines[::-1], half)
    left_out = len(lines) - first - last
    return "\n".join([*lines[:first], f"         … {left_out} lines …", *lines[-last:]])


def _fitting(lines: Sequence[str], room: int) -> int:
    """How many of the first lines fit."""
    for number, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            return number
    return len(lines)
