"""The same messages through smtplib and through us, and what a real server made of both."""

from __future__ import annotations

import itertools
import smtplib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask_outbox.mail.letter import Letter
from flask_outbox.rules.outcomes import Report
from servers.process import wait_until

from .sending import YOU, letter

_numbers = itertools.count(1)

# Complete, so that no server adds anything.
_HEAD = (
    "From: me@example.org\r\nTo: you@example.net\r\nDate: Sun, 15 Jun 2025 15:06:40 +0000\r\n"
    "Message-ID: <{}@example.org>\r\nSubject: x\r\n"
)

#: Bodies whose bytes are easily lost on the way.
BODIES = {
    "dots": b".\r\n..\r\n.dot\r\nend.\r\n.\r\n",
    "no line end": b"no line end",
    "eight bits": "Dönerstraße ✓\r\n".encode(),
    "empty": b"",
    "long": b"x" * 900 + b"\r\n" + (b"y" * 70 + b"\r\n") * 3000,
}

#: What servers put before a message.
_TRACES = ("Return-Path:", "X-Original-To:", "Delivered-To:", "Received:", "\t", " ")


def fresh(
    body: bytes = b"Body\r\n", to: Sequence[str] = YOU, *, head: str = "", **fields: Any
) -> Letter:
    """A letter that no test has sent yet, found again by its Message-ID.

    :param head: further lines of its head.
    """
    number = next(_numbers)
    raw = f"{_HEAD.format(number)}{head}\r\n".encode() + body
    return letter(number, to, raw=raw, **fields)


def arrived(messages: Callable[[int], list[bytes]], wanted: Letter, count: int = 1) -> list[bytes]:
    """The copies of a letter as they were before servers wrote on them, as soon as there are so many.

    :param messages: a server's, of any letters.
    """
    name = f"Message-ID: {wanted.message_id}\n".encode()

    def found() -> list[bytes]:
        return [message for message in messages(0) if name in message]

    wait_until(lambda: len(found()) >= count, f"{count} copies of {wanted.message_id}")
    return [_as_sent(message) for message in found()]


def as_given(wanted: Letter) -> bytes:
    """A letter's content as a maildir keeps it."""
    assert wanted.raw is not None
    content = wanted.raw.replace(b"\r\n", b"\n")
    return content if content.endswith(b"\n") else content + b"\n"


def _as_sent(message: bytes) -> bytes:
    lines = message.split(b"\n")
    while lines[0].startswith(tuple(map(str.encode, _TRACES))):
        del lines[0]
    return b"\n".join(lines)


def codes(report: Report) -> dict[str, int]:
    """What the server said for whom, by us."""
    return {to: outcome.code for to, outcome in report}


def smtplibs_codes(client: smtplib.SMTP, given: Letter) -> dict[str, int]:
    """What the server said for whom, by smtplib."""
    assert given.raw is not None
    to = list(given.envelope_to)
    options = [] if given.raw.isascii() else ["BODY=8BITMIME"]
    if not "".join(to).isascii():
        options.append("SMTPUTF8")
    refused: Mapping[str, tuple[int, bytes]]
    try:
        refused = client.sendmail(given.envelope_from, to, given.raw, mail_options=options)
    except smtplib.SMTPRecipientsRefused as error:
        refused = error.recipients
    except smtplib.SMTPResponseException as error:
        return dict.fromkeys(to, error.smtp_code)
    return {one: refused[one][0] if one in refused else 250 for one in to}


def smtplibs_lmtp_codes(client: smtplib.LMTP, given: Letter) -> dict[str, int]:
    """The same over LMTP, whose further replies smtplib leaves to its user."""
    assert given.raw is not None
    client.mail(given.envelope_from)
    found = {to: client.rcpt(to)[0] for to in given.envelope_to}
    accepted = [to for to, code in found.items() if code == 250]
    if accepted:
        first, *others = accepted
        found[first] = client.data(given.raw)[0]
        found |= {to: client.getreply()[0] for to in others}
    else:
        client.rset()
    return found
