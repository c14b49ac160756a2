"""Content that comes ready-made."""

from __future__ import annotations

from typing import Any

import pytest

from flask_outbox.errors import BadHeaderError, MessageError
from flask_outbox.mail.message import Message
from flask_outbox.mail.mime import compose

from .letters import letter
from .reading import assert_legal, parse

ENTITY = b"Content-Type: application/x-own;\n name=a\nContent-Language: en\n\nline\nline"


def test_it_stands_after_our_header_with_crlf() -> None:
    sealed = letter(Message("Hi", ["a@b.org"], entity=ENTITY))
    assert sealed.raw is not None
    assert_legal(compose(sealed))
    read = parse(compose(sealed))
    assert (read["Subject"], read["To"], read["Content-Language"]) == ("Hi", "a@b.org", "en")
    assert (read.get_content_type(), read.get_content()) == (
        "application/x-own",
        b"line\r\nline\r\n",
    )


@pytest.mark.parametrize(
    ("entity", "says"),
    [
        ("Content-Type: text/x\n\n", "bytes are needed here, not str"),
        (b"Content-Type: text/x\n\n\xff", "8-bit data"),
        (b"Content-Type: text/x\n\n\0", "8-bit data"),
        (b"Content-Type: text/x\n\n" + b"x" * 999, "more than 998"),
    ],
)
def test_what_cannot_travel_is_refused(entity: Any, says: str) -> None:
    with pytest.raises(MessageError, match=says) as caught:
        letter(Message(recipients=["a@b.org"], entity=entity))
    assert caught.value.field == "entity"


@pytest.mark.parametrize(
    "entity",
    [
        b"",
        b"text",
        b"\r\n\r\ntext",
        b"Content-Type: text/x",
        b"Bcc: x@y.z\r\nContent-Type: text/x\r\n\r\n",
        b"Content-Type: text/x\r\nBcc: x@y.z\r\n\r\n",
        b"Content-Type: text/x\rBcc: x@y.z\r\r",
        b"Content-Type : text/x\r\n\r\n",
    ],
)
def test_headers_of_the_message_cannot_hide_in_it(entity: bytes) -> None:
    with pytest.raises(BadHeaderError) as caught:
        letter(Message(recipients=["a@b.org"], entity=entity))
    assert caught.value.field == "entity"


@pytest.mark.parametrize("field", ["body", "html"])
def test_it_stands_in_place_of_the_texts(field: str) -> None:
    with pytest.raises(MessageError, match="give either"):
        letter(Message(recipients=["a@b.org"], entity=ENTITY, **{field: "x"}))


def test_it_stands_in_place_of_the_files() -> None:
    message = Message(recipients=["a@b.org"], entity=ENTITY)
    message.attach("a.txt", data="x")
    with pytest.raises(MessageError, match="give either"):
        letter(message)
