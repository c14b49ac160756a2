"""The composer's bytes, kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flask_outbox.mail.dkim import signing_composer
from flask_outbox.mail.letter import Letter
from flask_outbox.mail.message import Message
from flask_outbox.mail.mime import compose

from .letters import letter
from .signing import ed25519_key

GOLDEN = Path(__file__).parent / "golden"


def plain() -> Letter:
    return letter(subject="Welcome", body="Hello,\n\nthis is plain.\n")


def empty() -> Letter:
    return letter(Message(recipients=["jane@example.net"]))


def hidden() -> Letter:
    return letter(Message("To many", bcc=["jane@example.net", "john@example.net"], body="Hi"))


def html() -> Letter:
    return letter(html="<img src='https://example.org/p.gif'>")


def both() -> Letter:
    return letter(
        subject="Grüße aus Köln",
        recipients=[("Müller, Jörg", "joerg@example.org"), "Jane Doe <jane@example.net>"],
        cc=["third@bücher.example"],
        reply_to="Support <support@example.org>",
        sender="Acme, Inc. <acme@example.com>",
        body="Schöne Grüße \nund bis bald.\n",
        html="<p>Schöne Grüße<br>und bis bald.</p>\n",
        extra_headers={"X-Campaign": "one", "List-Unsubscribe": "<https://example.org/u/1>"},
    )


def files() -> Letter:
    message = Message(
        "Your files",
        ["jane@example.net"],
        html="<p>See <a href='https://example.org/'>here</a></p>",
    )
    message.attach("two words.txt", "text/plain", "text\n")
    message.attach('résumé "final".pdf', "application/pdf", bytes(range(120)))
    message.attach("写真" * 12 + ".jpg", "image/jpeg", b"\xff\xd8")
    return letter(message)


def mails() -> Letter:
    message = Message("Bounces", ["jane@example.net"], "See what came back.")
    message.attach("plain.eml", "message/rfc822", b"Subject: inner\n\nhello\n")
    message.attach("eight.eml", "message/rfc822", "Subject: inner\n\nübrig\n".encode())
    message.attach("odd.eml", "message/rfc822", "Subject: ü\n\nübrig\n".encode())
    message.attach("parts", 'multipart/x-own; boundary="x"', b"--x--\n")
    message.attach("nothing.bin", data=b"")
    return letter(message)


def shown() -> Letter:
    message = Message(
        "日本語の件名 " * 6 + "😀",
        ["jane@example.net"],
        "",
        "<img src='cid:logo'><p>日本語のテキスト</p>",
    )
    message.attach("logo.png", "image/png", b"\x89PNG", "inline", {"Content-ID": "<logo>"})
    message.alts["calendar; method=REQUEST"] = "BEGIN:VCALENDAR\nEND:VCALENDAR\n"
    return letter(message)


def many() -> Letter:
    return letter(
        subject="A subject of ASCII words that is long enough to be folded once or even twice, as it goes on and on",
        recipients=[
            f"Recipient Number {number} <someone{number}@example.org>" for number in range(5)
        ],
        body="x" * 1200 + "\n",
    )


def typed() -> Letter:
    return letter(
        subject="\u200fשלום עולם",
        recipients=["jörg@example.net"],
        body="שלום",
        extra_headers={
            "Sender": "Doe, J. <j@example.org>",
            "Disposition-Notification-To": "Jörg Müller <a@example.org>",
            "Expires": "Tue, 01 Jul 2025 12:39:17 +0200",
            "References": " ".join(f"<{number}@example.org>" for number in range(6)),
            "List-Id": "Café für alle <cafe.example.org>",
        },
        list_unsubscribe=["https://example.org/u/1", "mailto:leave@example.org?subject=1"],
    )


LETTERS = (plain, empty, hidden, html, both, files, mails, shown, many, typed)


@pytest.mark.parametrize("make", LETTERS)
def test_the_bytes_are_what_they_were(make: Callable[[], Letter]) -> None:
    """Letters in an outbox are composed anew at every try: other bytes need another composer version."""
    assert compose(make()) == (GOLDEN / f"{make.__name__}.eml").read_bytes()


def test_the_signature_is_what_it_was() -> None:
    compose_signed = signing_composer(ed25519_key().signer)
    assert compose_signed(both()) == (GOLDEN / "signed.eml").read_bytes()
