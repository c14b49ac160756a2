"""The transport that prints."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import pytest

from flask_outbox.mail.address import Address
from flask_outbox.mail.letter import Part
from flask_outbox.transports.console import ConsoleTransport

from .sending import YOU, Cleared, letter

WRITTEN = replace(
    letter(raw=None),
    sender=Address("me@example.org", "Me, Myself"),
    to=(Address("you@example.net"),),
    subject="Grüße",
    text="Follow https://example.org/confirm?token=abc=\r\n",
    attachments=(Part("a.pdf", "application/pdf", b"%PDF"),),
)


def printed(stream: io.TextIOBase | None = None, **fields: object) -> str:
    stream = stream or io.StringIO()
    road = ConsoleTransport(stream)  # type: ignore[arg-type]
    report = asyncio.run(road.deliver(replace(WRITTEN, **fields), YOU, Cleared()))
    assert report.all_accepted
    stream.seek(0)
    return str(stream.read())


def test_a_link_is_printed_as_it_is_followed() -> None:
    assert "https://example.org/confirm?token=abc=\n" in printed()


def test_the_envelope_and_the_headers_are_printed() -> None:
    lines = printed().splitlines()
    assert "RCPT TO:<you@example.net>" in lines
    assert "From: Me, Myself <me@example.org>" in lines
    assert "Subject: Grüße" in lines


def test_an_attachment_is_named_and_not_printed() -> None:
    text = printed()
    assert "[application/pdf a.pdf, 4 bytes]" in text
    assert "%PDF" not in text


def test_html_is_printed_below_the_text() -> None:
    assert printed(html="<p>Hi</p>").index("token=abc") < printed(html="<p>Hi</p>").index("<p>Hi")


def test_a_letter_that_is_stored_whole_is_printed_whole() -> None:
    assert "Subject: raw\n\nBody\n" in printed(raw=b"Subject: raw\r\n\r\nBody\r\n")


def test_what_the_terminal_cannot_show_is_escaped() -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert "Subject: Gr\\xfc\\xdfe" in printed(terminal)


def test_it_prints_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(ConsoleTransport().deliver(WRITTEN, YOU, Cleared()))
    assert "Grüße" in capsys.readouterr().err
