"""The composer's bytes, kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_outbox.mail.letter import Letter
from flask_outbox.mail.message import Message
from flask_outbox.mail.mime import compose

from .letters import letter

GOLDEN = Path(__file__).parent / "golden"


def _golden() -> dict[str, Letter]:
    plain = letter(subject="Welcome", body="Hello,\n\nthis is plain.\n")
    both = letter(
        subject="Grüße aus Köln",
        recipients=[("Müller, Jörg", "joerg@example.org"), "Jane Doe <jane@example.net>"],
        cc=["third@bücher.example"],
        reply_to="Support <support@example.org>",
        sender="Acme, Inc. <acme@example.com>",
        body="Schöne Grüße \nund bis bald.\n",
        html="<p>Schöne Grüße<br>und bis bald.</p>\n",
        extra_headers={"X-Campaign": "one", "List-Unsubscribe": "<https://example.org/u/1>"},
    )
    files = Message(
        "Your files",
        ["jane@example.net"],
        html="<p>See <a href='https://example.org/'>here</a></p>",
    )
    files.attach("two words.txt", "text/plain", "text\n")
    files.attach('résumé "final".pdf', "application/pdf", bytes(range(120)))
    files.attach("写真" * 12 + ".jpg", "image/jpeg", b"\xff\xd8")
    shown = Message(
        "日本語の件名 " * 6 + "😀",
        ["jane@example.net"],
        "",
        "<img src='cid:logo'><p>日本語のテキスト</p>",
    )
    shown.attach("logo.png", "image/png", b"\x89PNG", "inline", {"Content-ID": "<logo>"})
    shown.alts["calendar; method=REQUEST"] = "BEGIN:VCALENDAR\nEND:VCALENDAR\n"
    many = letter(
        subject="A subject of ASCII words that is long enough to be folded once or even twice, as it goes on and on",
        recipients=[
            f"Recipient Number {number} <someone{number}@example.org>" for number in range(5)
        ],
        body="x" * 1200 + "\n",
    )
    return {
        "plain": plain,
        "both": both,
        "files": letter(files),
        "shown": letter(shown),
        "many": many,
    }


@pytest.mark.parametrize("name", sorted(_golden()))
def test_the_bytes_are_what_they_were(name: str) -> None:
    """Letters in an outbox are composed anew at every try: other bytes need another composer version."""
    assert compose(_golden()[name]) == (GOLDEN / f"{name}.eml").read_bytes()
