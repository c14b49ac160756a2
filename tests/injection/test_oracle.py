"""The oracle of this folder can fail: it sees what a careless composer lets through, and nothing else."""

from __future__ import annotations

import pytest

from flask_outbox import Message
from flask_outbox.mail.mime import compose
from flask_outbox.mail.seal import SealDefaults, seal

from .corpus import FIELD, STRANGER
from .oracle import Asked, findings
from .places import BASE, FILE, ID


def good() -> bytes:
    message = Message(**BASE)
    message.attach(**FILE)
    return compose(seal(message, id=ID, now=1_751_366_357.0, defaults=SealDefaults()))


def test_a_good_message_has_no_findings() -> None:
    assert findings(good(), Asked()) == []


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        # What a composer that joins strings makes of hostile fields.
        ("Subject: Hello\r\n", f"Subject: Hello\r\nBcc: {STRANGER}\r\n"),
        ("Subject: Hello\r\n", f"Subject: Hello\nBcc: {STRANGER}\r\n"),
        ("Subject: Hello\r\n", f"Subject: Hello\rBcc: {STRANGER}\r\n"),
        ("Subject: Hello\r\n", "Subject: Hello\0\r\n"),
        ("Subject: Hello\r\n", "Subject: Hello\x0bBcc: x\r\n"),
        ("Subject: Hello\r\n", f"Subject: Hello\r\n{FIELD}: 1\r\n"),
        ("Subject: Hello\r\n", "Subject: Hello\r\nSubject: Bye\r\n"),
        ("Subject: Hello\r\n", "Subject: Hello\r\n \r\n Bye\r\n"),
        ("Subject: Hello\r\n", "Subject: Hello\r\n\r\nSmuggled\r\n"),
        ("Subject: Hello\r\n", "Subject: Hello\r\nno field\r\n"),
        ("Subject: Hello\r\n", f"Subject: =?utf-8?q?a=0D=0ABcc:_{STRANGER}?=\r\n"),
        ("Subject: Hello\r\n", "Subject: =?utf-8?q?=E2=80=A8?=\r\n"),
        ("To: to@example.org", f"To: to@example.org, {STRANGER}"),
        ("Cc: cc@example.org", f"Cc: Ann <{STRANGER}>"),
        ("To: to@example.org", f"To: =?utf-8?q?=0D=0ABcc:_{STRANGER}?= <to@example.org>"),
        ("<mailto:out@example.org>", f"<mailto:out@example.org>, <mailto:{STRANGER}>"),
        ('filename="a.bin"', 'filename="a.bin"\r\nX-Smuggled: 1'),
        ('filename="a.bin"', "filename*=utf-8''a%0D%0AX-Smuggled%3A%201"),
        ('filename="a.bin"', 'filename="=?utf-8?q?=0D=0A?="'),
        ("<p>Hello</p>", f"<p>\r\n--=_alternative_{ID}\r\n\r\nSmuggled"),
        ("<p>Hello</p>", f"<p>\r\n--=_mixed_{ID}\r\nContent-Type: text/html\r\n\r\nSmuggled"),
        ("<p>Hello</p>", f"<p>\r\n--=_mixed_{ID}--\r\nSmuggled"),
        ("<p>Hello</p>", "<p>Hello\r.\r</p>"),
        ("<p>Hello</p>", "x" * 1000),
    ],
)
def test_what_a_careless_composer_lets_through_is_found(written: str, instead: str) -> None:
    content = good()
    assert written.encode() in content
    assert findings(content.replace(written.encode(), instead.encode()), Asked()) != []


def test_what_was_asked_for_is_no_finding() -> None:
    content = good().replace(b"Subject:", b"X-More: 1\r\nSubject:")
    assert findings(content, Asked(header="X-More")) == []
    assert findings(content, Asked()) != []
