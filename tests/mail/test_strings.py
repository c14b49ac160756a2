"""Strings as callers hand them in."""

from __future__ import annotations

import pytest
from markupsafe import Markup

from flask_outbox.errors import BadHeaderError, MessageError
from flask_outbox.mail.strings import header_pairs, one_line, plain_text


def test_markup_becomes_a_plain_string_that_escapes_nothing() -> None:
    text = plain_text(Markup("<b>"), "html")
    assert type(text) is str
    assert text + "<i>" == "<b><i>"


@pytest.mark.parametrize("value", [None, b"x", bytearray(b"x"), memoryview(b"x")])
def test_bytes_and_none_are_no_text(value: object) -> None:
    with pytest.raises(MessageError, match=r"^body: text is needed"):
        plain_text(value, "body")


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(MessageError, match="half a surrogate pair"):
        plain_text("x\ud83d", "body")


def test_what_is_no_string_is_written_out() -> None:
    assert one_line(3, "extra_headers") == "3"


def test_a_tab_becomes_a_space() -> None:
    assert one_line("a\tb", "subject") == "a b"


def test_the_control_character_is_named() -> None:
    with pytest.raises(BadHeaderError, match=r"subject: .* U\+000A"):
        one_line("a\nb", "subject")


def test_a_stray_byte_of_windows_1252_is_let_through() -> None:
    assert one_line("it\x92s", "subject") == "it\x92s"


@pytest.mark.parametrize("name", ["", "X Y", "X:", "Ü", "x" * 77])
def test_a_name_that_no_header_may_have_is_refused(name: str) -> None:
    with pytest.raises(MessageError, match="not a header's name"):
        header_pairs({name: "x"}, "extra_headers")


@pytest.mark.parametrize(
    ("name", "value"), [("X\r\nBcc", "y"), ("X", "y\r\nBcc: z"), ("X", "y\r\n z"), ("X", "\0")]
)
def test_a_header_cannot_bring_another(name: str, value: str) -> None:
    with pytest.raises(BadHeaderError):
        header_pairs({name: value}, "extra_headers")


def test_a_value_that_no_line_can_hold_is_refused() -> None:
    with pytest.raises(MessageError, match="more than 900 characters without a space"):
        header_pairs({"X": "y" * 901}, "extra_headers")


def test_pairs_keep_their_order_and_may_repeat() -> None:
    pairs = [("X-B", "1"), ("X-A", "2"), ("X-B", "3")]
    assert header_pairs(pairs, "extra_headers") == tuple(pairs)
