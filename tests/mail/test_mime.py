"""The composer: where parts go, how they are encoded, and what the server must be able to take."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from email.message import EmailMessage

import pytest

from flask_outbox.mail.letter import Part
from flask_outbox.mail.message import Message
from flask_outbox.mail.mime import compose, needs_smtputf8

from .letters import ID, letter
from .reading import assert_legal, parse, with_crlf


def words(content: bytes) -> str:
    """The content unfolded, so that a header can be looked for."""
    return content.decode().replace("\r\n ", " ")


def tree(part: EmailMessage) -> object:
    if not part.is_multipart() or part.get_content_maintype() == "message":
        return part.get_content_type()
    return [part.get_content_subtype(), *map(tree, part.iter_parts())]


# -- structure


def _attached(message: Message) -> None:
    message.attach("a.bin", data=b"x")


def _shown(message: Message) -> None:
    message.attach("a.png", data=b"x", disposition="inline", headers={"Content-ID": "<logo>"})


def _alternative(message: Message) -> None:
    message.alts["calendar"] = "BEGIN:VCALENDAR"


@pytest.mark.parametrize(
    ("body", "html", "more", "expected"),
    [
        ("t", None, [], "text/plain"),
        (None, None, [], "text/plain"),
        (None, "<img>", [], "text/html"),
        ("t", "<p>", [], ["alternative", "text/plain", "text/html"]),
        ("t", None, [_attached], ["mixed", "text/plain", "application/octet-stream"]),
        (None, None, [_attached], ["mixed", "application/octet-stream"]),
        (
            "t",
            "<p>",
            [_attached],
            ["mixed", ["alternative", "text/plain", "text/html"], "application/octet-stream"],
        ),
        (
            "t",
            "<img src='cid:logo'>",
            [_shown],
            ["alternative", "text/plain", ["related", "text/html", "image/png"]],
        ),
        (
            "t",
            "<img src='cid:logo'>",
            [_attached, _shown],
            [
                "mixed",
                ["alternative", "text/plain", ["related", "text/html", "image/png"]],
                "application/octet-stream",
            ],
        ),
        ("t", "<p>", [_shown], ["mixed", ["alternative", "text/plain", "text/html"], "image/png"]),
        ("t", None, [_shown], ["mixed", "text/plain", "image/png"]),
        ("t", None, [_alternative], ["alternative", "text/plain", "text/calendar"]),
        ("t", "<p>", [_alternative], ["alternative", "text/plain", "text/html", "text/calendar"]),
    ],
)
def test_parts_are_put_where_readers_look_for_them(
    body: str | None, html: str | None, more: list[Callable[[Message], None]], expected: object
) -> None:
    message = Message("S", ["a@b.org"], body, html)
    for add in more:
        add(message)
    content = compose(letter(message))
    assert_legal(content)
    assert tree(parse(content)) == expected


def test_bcc_is_nowhere_in_the_bytes() -> None:
    content = compose(letter(recipients=["a@b.org"], bcc=["hidden@example.net"]))
    assert b"hidden" not in content
    assert b"bcc" not in content.lower()


def test_a_message_to_hidden_recipients_alone_says_so() -> None:
    content = compose(letter(Message("S", bcc=["hidden@example.net"])))
    assert b"\r\nTo: undisclosed-recipients:;\r\n" in content


def test_a_message_to_cc_alone_has_no_to() -> None:
    assert "To" not in parse(compose(letter(Message("S", cc=["a@b.org"]))))


def test_the_date_is_the_letters_in_utc_and_english() -> None:
    assert b"\r\nDate: Tue, 01 Jul 2025 10:39:17 +0000\r\n" in compose(letter())


def test_the_message_id_is_not_folded() -> None:
    message = Message("S", ["a@b.org"])
    message.msgId = f"<{'a' * 100}@example.org>"
    assert f"\r\nMessage-ID: {message.msgId}\r\n".encode() in compose(letter(message))


def test_a_raw_message_goes_out_as_it_is() -> None:
    assert (
        compose(dataclasses.replace(letter(), raw=b"Subject: x\r\n\r\ny\r\n"))
        == b"Subject: x\r\n\r\ny\r\n"
    )


def test_the_line_ends_of_a_raw_message_are_mended() -> None:
    raw = b"Subject: x\n\r\ny\rz"
    content = compose(dataclasses.replace(letter(), raw=raw))
    assert content == b"Subject: x\r\n\r\ny\r\nz\r\n"


@pytest.mark.parametrize("url", ["cid:logo@example.org", "cid:logo%40example.org"])
def test_an_inline_part_is_found_however_its_url_is_written(url: str) -> None:
    message = Message("S", ["a@b.org"], "t", f"<img src='{url}'>")
    message.attach("a.png", data=b"x", headers={"Content-ID": "<logo@example.org>"})
    assert tree(parse(compose(letter(message)))) == [
        "alternative",
        "text/plain",
        ["related", "text/html", "image/png"],
    ]


# -- encodings


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        ("plain\n", "7bit"),
        ("x" * 998, "7bit"),
        (f"{'x' * 998}\n{'x' * 998}", "7bit"),
        ("x" * 999, "quoted-printable"),
        ("x\n" * 600 + "x" * 999, "quoted-printable"),
        ("mostly plain, ünless", "quoted-printable"),
        ("日本語" * 10, "base64"),
        ("with a NUL\0", "base64"),
        (f"--=_mixed_{ID}", "quoted-printable"),
    ],
)
def test_a_text_takes_the_cheapest_encoding_that_carries_it(body: str, encoding: str) -> None:
    parsed = parse(compose(letter(body=body)))
    assert parsed["Content-Transfer-Encoding"] == encoding
    assert (
        parsed.get_payload(decode=True).rstrip(b"\r\n") == with_crlf(body).rstrip("\r\n").encode()
    )


@pytest.mark.parametrize("length", range(70, 80))
@pytest.mark.parametrize("end", [" ", "\t", "", " \r\n", "\t\r\nmore", "  \n ü"])
def test_quoted_printable_keeps_to_76_characters_and_keeps_white_space(
    length: int, end: str
) -> None:
    body = f"{'x' * length}{end}\n{'ü' * 3}{' and some more words' * 3}"
    content = compose(letter(body=body))
    assert b"Content-Transfer-Encoding: quoted-printable" in content
    assert max(map(len, content.split(b"\r\n"))) <= 76
    assert parse(content).get_payload(decode=True) == with_crlf(body).encode() + b"\r\n"


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 114, 1000, 7295, 7296, 7297, 14_592, 20_000])
def test_an_attachment_of_any_size_comes_back(size: int) -> None:
    message = Message("S", ["a@b.org"], "text")
    message.attach("a.bin", data=(bytes(range(251)) * 80)[:size])
    content = compose(letter(message))
    assert_legal(content)
    assert max(map(len, content.split(b"\r\n"))) <= 76
    (_, part) = parse(content).iter_parts()
    assert part.get_content() == message.attachments[0].data


@pytest.mark.parametrize(
    ("charset", "body"),
    [
        ("iso-8859-1", "grün"),
        ("iso-2022-jp", "日本語"),
        ("koi8-r", "привет"),
    ],
)
def test_a_text_is_sent_in_the_charset_that_was_asked_for(charset: str, body: str) -> None:
    content = compose(letter(body=body, html=f"<p>{body}</p>", charset=charset))
    assert_legal(content)
    for part in parse(content).iter_parts():
        assert part.get_content_charset() == charset
        assert body in part.get_content()


@pytest.mark.parametrize("lone", ["=_mixed_", "=_alternative_", "--=_related_"])
def test_a_text_that_holds_a_boundary_is_no_boundary(lone: str) -> None:
    body = f"before\n{lone}{ID}\n--{lone}{ID}--\nafter"
    message = Message("S", ["a@b.org"], body, "<p>")
    message.attach("a.bin", data=b"x")
    content = compose(letter(message))
    assert_legal(content)
    assert parse(content).get_body(("plain",)).get_content() == with_crlf(body)


# -- attachments


def test_a_mail_is_attached_as_a_mail() -> None:
    message = Message("S", ["a@b.org"], "text")
    message.attach("a.eml", "message/rfc822", b"Subject: inner\n\nhello\n")
    (_, part) = parse(compose(letter(message))).iter_parts()
    assert part["Content-Transfer-Encoding"] == "7bit"
    assert part.get_content()["Subject"] == "inner"


def test_a_mail_with_eight_bits_keeps_them_and_what_holds_it_says_so() -> None:
    message = Message("S", ["a@b.org"], "text")
    message.attach("a.eml", "message/rfc822", "Subject: inner\n\nübrig\n".encode())
    content = compose(letter(message))
    assert_legal(content)
    assert parse(content)["Content-Transfer-Encoding"] == "8bit"
    (_, part) = parse(content).iter_parts()
    assert part["Content-Transfer-Encoding"] == "8bit"
    assert part.get_content().get_payload(decode=True) == "übrig\r\n".encode()


def test_whatever_else_is_composed_has_seven_bits() -> None:
    message = Message("ü", [("ü", "a@bücher.example")], "ü", "<p>ü")
    message.attach("ü.txt", "text/plain; charset=latin-1", "ü")
    message.attach("ü.eml", "message/rfc822", "Subject: ü\n\n".encode())
    assert compose(letter(message)).isascii()


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("message/rfc822", "Subject: ü\n\nhello\n".encode()),
        ("message/delivery-status", "Reporting-MTA: dns; ü\n\n".encode()),
        ("message/rfc822", f"Subject: x\n\n{'x' * 999}".encode()),
        ("message/rfc822", b"Subject: x\n\n\0"),
        ("message/rfc822", b"Subject: x\n\n--=_mixed_" + ID.encode()),
        ("multipart/x-own; boundary=x", b"--x--"),
    ],
)
def test_a_mail_that_would_need_an_encoding_is_attached_as_a_file(
    content_type: str, data: bytes
) -> None:
    message = Message("S", ["a@b.org"], "text")
    message.attach("a.eml", content_type, data)
    content = compose(letter(message))
    assert_legal(content)
    (_, part) = parse(content).iter_parts()
    assert (part["Content-Type"], part.get_content()) == ("application/octet-stream", data)


def test_an_attachments_headers_are_kept() -> None:
    part = Part(
        "a.ics", "text/calendar", b"x", headers=(("X-A", "1"),), parameters=(("method", "REQUEST"),)
    )
    content = words(compose(dataclasses.replace(letter(), attachments=(part,))))
    assert 'Content-Type: text/calendar; method="REQUEST"\r\n' in content
    assert "\r\nX-A: 1\r\n" in content


def test_an_attachment_without_name_is_still_an_attachment() -> None:
    message = Message("S", ["a@b.org"])
    message.attach(data=b"x")
    (part,) = parse(compose(letter(message))).iter_parts()
    assert part["Content-Disposition"] == "attachment"


# -- SMTPUTF8


def test_a_local_part_beyond_ascii_stands_in_the_header_as_it_is() -> None:
    sealed = letter(recipients=["Jörg <jörg@bücher.example>"])
    assert "\r\nTo: =?utf-8?b?SsO2cmc=?= <jörg@xn--bcher-kva.example>\r\n".encode() in compose(
        sealed
    )


@pytest.mark.parametrize(
    ("fields", "to", "needed"),
    [
        ({}, ("a@b.org",), False),
        (
            {"subject": "Grüße", "recipients": ["Jörg <a@bücher.example>"]},
            ("a@xn--bcher-kva.example",),
            False,
        ),
        ({"bcc": ["jörg@b.org"]}, ("someone@example.org",), False),
        ({"bcc": ["jörg@b.org"]}, ("jörg@b.org",), True),
        ({"cc": ["jörg@b.org"]}, ("someone@example.org",), True),
        ({"sender": "jörg@b.org"}, ("a@b.org",), True),
        ({"reply_to": "jörg@b.org"}, ("a@b.org",), True),
        ({"envelope_from": "jörg@b.org"}, ("a@b.org",), True),
    ],
)
def test_smtputf8_is_needed_for_what_the_server_is_shown(
    fields: dict[str, object], to: tuple[str, ...], needed: bool
) -> None:
    assert needs_smtputf8(letter(**fields), to) is needed


@pytest.mark.parametrize(
    ("raw", "needed"), [("Subject: ü\r\n\r\nx", True), ("Subject: x\r\n\r\nü", False)]
)
def test_a_raw_message_needs_smtputf8_for_its_header_alone(raw: str, needed: bool) -> None:
    assert needs_smtputf8(dataclasses.replace(letter(), raw=raw.encode()), ("a@b.org",)) is needed
