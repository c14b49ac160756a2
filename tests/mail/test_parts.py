"""Attachments sealed."""

from __future__ import annotations

import io

import pytest

from flask_outbox.errors import BadHeaderError, MessageError
from flask_outbox.mail.letter import Part
from flask_outbox.mail.message import Attachment
from flask_outbox.mail.parts import seal_part


def part(*args: object, ascii_name: bool = False, **fields: object) -> Part:
    return seal_part(Attachment(*args, **fields), ascii_name=ascii_name)


def test_a_file_becomes_a_part() -> None:
    assert part("a.pdf", None, b"x") == Part("a.pdf", "application/pdf", b"x")


def test_a_file_may_have_no_name() -> None:
    assert part(None, "image/png", b"x").filename == ""


@pytest.mark.parametrize("data", [bytearray(b"x"), memoryview(b"x")])
def test_any_kind_of_bytes_is_taken(data: object) -> None:
    sealed = part("a.bin", None, data)
    assert type(sealed.data) is bytes


def test_text_is_sent_as_utf_8() -> None:
    sealed = part("a.txt", None, "ü")
    assert (sealed.data, sealed.parameters) == ("ü".encode(), (("charset", "utf-8"),))


def test_text_is_sent_in_the_charset_it_names() -> None:
    sealed = part("a.txt", "text/plain; charset=latin-1", "ü")
    assert (sealed.data, sealed.parameters) == (b"\xfc", (("charset", "latin-1"),))


def test_text_of_another_type_gets_no_charset() -> None:
    assert part("a.json", "application/json", "{}").parameters == ()


@pytest.mark.parametrize("charset", ["latin-1", "no-such"])
def test_text_that_its_charset_cannot_write_is_refused(charset: str) -> None:
    with pytest.raises(MessageError, match="give bytes") as caught:
        part("a.txt", f"text/plain; charset={charset}", "中")
    assert caught.value.field == "attachments"


@pytest.mark.parametrize(
    ("written", "content_type", "parameters"),
    [
        ("Text/Calendar;method=REQUEST", "text/calendar", (("method", "REQUEST"),)),
        (r'a/b; x="y \"z\""; w=v ;', "a/b", (("x", 'y "z"'), ("w", "v"))),
        (" application/vnd.x+json ", "application/vnd.x+json", ()),
    ],
)
def test_a_content_type_may_have_parameters(
    written: str, content_type: str, parameters: object
) -> None:
    sealed = part("a", written, b"")
    assert (sealed.content_type, sealed.parameters) == (content_type, parameters)


@pytest.mark.parametrize(
    "written", ["pdf", "a/b/c", "a/b; x", 'a/b; x="y', "a b/c", "ä/b", f"a/{'b' * 500}"]
)
def test_what_is_no_content_type_is_refused(written: str) -> None:
    with pytest.raises(MessageError, match="not a content type"):
        part("a", written, b"")


def test_a_file_object_is_refused() -> None:
    with pytest.raises(MessageError, match="read the file first"):
        part("a.txt", None, io.BytesIO(b"x"))


def test_a_content_id_is_taken_from_the_headers() -> None:
    sealed = part("a.png", None, b"", "inline", {"content-id": "<logo>", "X-A": "1"})
    assert (sealed.content_id, sealed.headers, sealed.disposition) == (
        "logo",
        (("X-A", "1"),),
        "inline",
    )


@pytest.mark.parametrize("written", ["", "<a b>", "<ü>"])
def test_what_is_no_content_id_is_refused(written: str) -> None:
    with pytest.raises(MessageError, match="not a Content-ID"):
        part("a.png", None, b"", None, {"Content-ID": written})


@pytest.mark.parametrize(
    "name", ["Content-Type", "content-disposition", "Content-Transfer-Encoding"]
)
def test_a_header_that_the_attachment_makes_is_refused(name: str) -> None:
    with pytest.raises(MessageError, match="made by the attachment itself"):
        part("a.png", None, b"", None, {name: "x"})


@pytest.mark.parametrize(
    "arguments",
    [
        ("a\r\n.txt", None, b""),
        ("a\0.txt", None, b""),
        ("a.txt", "a/b\r\nX: y", b""),
        ("a.txt", None, b"", "inline\r\nX: y"),
        ("a.txt", None, b"", None, {"X": "y\nz"}),
        ("a.txt", None, b"", None, {"X\n": "y"}),
        ("a.png", None, b"", None, {"Content-ID": "<a>\r\nX: y"}),
    ],
)
def test_a_line_break_is_refused_everywhere(arguments: tuple[object, ...]) -> None:
    with pytest.raises(BadHeaderError) as caught:
        part(*arguments)
    assert caught.value.field == "attachments"


def test_a_disposition_of_several_words_is_refused() -> None:
    with pytest.raises(MessageError, match="'attachment' or 'inline'"):
        part("a.txt", None, b"", "inline; x=y")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("résumé.pdf", "resume.pdf"),
        ("ünicöde  \u00a0 ☃.txt", "unicode .txt"),
        ("plain.txt", "plain.txt"),
        ("文档", "attachment"),
    ],
)
def test_names_can_be_brought_down_to_ascii(name: str, expected: str) -> None:
    assert part(name, "text/plain", b"", ascii_name=True).filename == expected
