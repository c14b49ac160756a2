"""Large messages: the bytes of :func:`.mime.compose`, a piece at a time."""

from __future__ import annotations

import dataclasses
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.mail import content
from flask_outbox.mail.content import LARGE, PIECE, Base64, Content, blocks
from flask_outbox.mail.letter import Letter
from flask_outbox.mail.message import Message
from flask_outbox.mail.mime import compose, composed

from .letters import letter, modest

DATA = random.Random(1).randbytes(3_000_000)


def large(**fields: object) -> Letter:
    """A letter with an attachment, an image that the HTML shows, and a mail."""
    message = Message("Large", ["you@example.org"], "Hello\n.\n", "<img src='cid:logo'>")
    message.attach("logo.png", "image/png", DATA[:100_000], "inline", {"Content-ID": "<logo>"})
    message.attach("video.bin", "application/octet-stream", DATA)
    message.attach(
        "mail.eml", "message/rfc822", b"Subject: \xfc\r\n\r\n\xfc\r\n" + b"words\r\n" * 60_000
    )
    return dataclasses.replace(letter(message), **fields)  # type: ignore[arg-type]


def raw(data: bytes) -> Letter:
    return dataclasses.replace(letter(), raw=b"Subject: x\r\n\r\n" + data)


#: Large letters of every kind.
LETTERS = {
    "attachments": large(),
    "text": letter(body=".words\n" * 200_000),
    "raw": raw(b".words\r\n" * 200_000),
    "raw, with bare line ends": raw(b"words\n" * 200_000),
    "raw, of one line": raw(b"x" * 1_000_000),
    "raw, without an end": raw(b"x\r\n" * 300_000 + b"x"),
    "raw, of empty lines": raw(b"\r\n" * 500_000),
}


@pytest.mark.parametrize("name", LETTERS)
def test_a_large_letter_has_the_same_bytes_in_pieces(name: str) -> None:
    made, whole = composed(LETTERS[name]), compose(LETTERS[name])
    assert isinstance(made, Content)
    assert bytes(made) == whole
    assert len(made) == len(whole)
    assert made.isascii() is whole.isascii()
    assert bytes(made) == whole  # at the next try, too


@pytest.mark.parametrize("name", LETTERS)
def test_each_piece_has_whole_lines(name: str) -> None:
    pieces = list(composed(LETTERS[name]))
    assert all(piece.endswith(b"\r\n") for piece in pieces if piece)
    if name != "raw, of one line":
        assert len(pieces) > 3
        assert max(map(len, pieces)) <= PIECE + 2


def test_a_small_letter_is_whole() -> None:
    small = letter(body="x" * (LARGE // 2))
    assert composed(small) == compose(small)


def test_a_line_on_top_is_a_line_of_the_first_piece() -> None:
    made = composed(large())
    assert isinstance(made, Content)
    assert bytes(made.below(b"A: b")) == b"A: b\r\n" + bytes(made)
    assert len(made.below(b"A: b")) == len(made) + 6


@modest
@given(st.lists(st.one_of(st.binary(max_size=200), st.integers(0, 30_000)), min_size=1, max_size=6))
def test_any_chunks_are_joined_by_line_ends(given_: list[bytes | int]) -> None:
    chunks = [Base64(DATA[:one]) if isinstance(one, int) else one for one in given_]
    whole = b"\r\n".join(b"\r\n".join(one) if isinstance(one, Base64) else one for one in chunks)
    assert b"\r\n".join(blocks(chunks)) == whole
    assert bytes(Content(chunks)) == whole
    assert len(Content(chunks)) == len(whole)


@modest
@given(size=st.integers(0, 70_000))
def test_base64_knows_its_length(size: int) -> None:
    made = Base64(DATA[:size])
    joined = b"\r\n".join(made)
    assert len(made) == len(joined)
    assert max(map(len, joined.split(b"\r\n"))) <= 76


def test_no_more_than_a_piece_is_in_memory_at_once() -> None:
    """Of a letter of 4 MB, two pieces: the one that is made, and the blocks that it is made of."""
    sealed = large()
    tracemalloc.start()
    try:
        made = composed(sealed)
        tracemalloc.reset_peak()
        size = sum(map(len, made))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 4_000_000
    # The mail that is attached stands in it as it is.
    assert most < 3 * content.PIECE
