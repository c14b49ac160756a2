"""A transport that prints: for development, where a person reads the mail in the terminal of ``flask run``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TextIO

from ..mail.letter import Letter
from ..rules.outcomes import Kind, Outcome, Phase, Report
from .base import Clearance, Transport

_RULE = "-" * 78


class ConsoleTransport(Transport):
    """Prints each letter as a person reads it: texts decoded, so that a link in them can be followed.

    :param stream: standard error, as it is at that moment, where it is left out.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    async def deliver(self, letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        """Print it."""
        if not clearance.valid() or not await clearance.content():
            return Report()
        stream = sys.stderr if self._stream is None else self._stream
        text = "\n".join([_RULE, *_lines(letter, to), _RULE, ""])
        # What stands there in a worker of Celery, and writes to its log, has none.
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
        return Report.of(to, Outcome(Kind.ACCEPTED, phase=Phase.AFTER, text="printed"))

    async def aclose(self) -> None:
        """Nothing is held open."""


def _lines(letter: Letter, to: tuple[str, ...]) -> Iterator[str]:
    yield f"MAIL FROM:<{letter.envelope_from}>"
    yield from (f"RCPT TO:<{address}>" for address in to)
    yield ""
    if letter.raw is not None:
        yield letter.raw.decode(errors="replace").replace("\r\n", "\n").rstrip("\n")
        return
    yield f"From: {_shown(letter.sender.name, letter.sender.addr)}"
    for name, addresses in (("To", letter.to), ("Cc", letter.cc), ("Reply-To", letter.reply_to)):
        if addresses:
            yield f"{name}: {', '.join(_shown(each.name, each.addr) for each in addresses)}"
    yield f"Subject: {letter.subject}"
    yield from (f"{name}: {value}" for name, value in letter.headers)
    yield from ("", (letter.text or "").rstrip("\r\n"))
    if letter.html:
        yield from ("", "[text/html]", letter.html.rstrip("\r\n"))
    for part in letter.attachments:
        yield f"[{part.content_type} {part.filename or part.content_id}, {len(part.data):,} bytes]"


def _shown(name: str, addr: str) -> str:
    return f"{name} <{addr}>" if name else addr
