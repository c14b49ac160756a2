"""The text of a message in its versions, and their charset."""

from __future__ import annotations

import pytest
from markupsafe import Markup

from flask_outbox.errors import MessageError

from .letters import letter


@pytest.mark.parametrize(
    ("body", "html", "text"),
    [
        (None, "<p>Hi</p>", "Hi"),
        ("", "<p>Hi</p>", "Hi"),
        (" \n", "<p>Hi</p>", "Hi"),
        ("own", "<p>Hi</p>", "own"),
        (None, "<img src=x>", None),
        (None, None, None),
        ("text", None, "text"),
        ("text", "", "text"),
    ],
)
def test_html_without_a_text_gets_one(body: str | None, html: str | None, text: str | None) -> None:
    assert letter(body=body, html=html).text == text


def test_versions_besides_text_and_html_keep_their_order() -> None:
    sealed = letter(
        body="t", html="<p>", alts={"x-amp-html": "<amp>", "html": "", "calendar": "BEGIN"}
    )
    assert sealed.html == "<p>"
    assert sealed.alternatives == (("x-amp-html", "<amp>"), ("html", "<p>"), ("calendar", "BEGIN"))


@pytest.mark.parametrize(
    ("key", "subtype"),
    [
        ("calendar", "calendar"),
        ("text/Calendar", "calendar"),
        ("calendar; method=REQUEST; charset=UTF-8", 'calendar; method="REQUEST"'),
        (r'x; a="b\"c"', r'x; a="b\"c"'),
    ],
)
def test_a_versions_subtype_may_have_parameters(key: str, subtype: str) -> None:
    assert letter(body="t", alts={key: "x"}).alternatives == ((subtype, "x"),)


@pytest.mark.parametrize(
    ("charset", "label"),
    [
        (None, "utf-8"),
        ("", "utf-8"),
        ("UTF8", "utf-8"),
        ("us-ascii", "us-ascii"),
        ("latin-1", "iso-8859-1"),
        ("ISO-8859-15", "iso-8859-15"),
        ("iso-2022-jp", "iso-2022-jp"),
        ("shift_jis", "iso-2022-jp"),
        ("windows-1252", "windows-1252"),
    ],
)
def test_a_charset_becomes_its_label(charset: str | None, label: str) -> None:
    assert letter(body="plain", charset=charset).charset == label


def test_markup_becomes_plain_text() -> None:
    sealed = letter(body=Markup("a"), html=Markup("<p>"))
    assert (type(sealed.text), type(sealed.html)) == (str, str)


def test_what_is_no_subtype_is_refused() -> None:
    with pytest.raises(MessageError, match="not a content type") as caught:
        letter(alts={"a/b/c": "x"})
    assert caught.value.field == "alts"


@pytest.mark.parametrize(
    "charset", ["no-such", "rot13", "base64", "utf-16", "ütf", "a b", "utf-8; x=y"]
)
def test_what_is_no_charset_for_mail_is_refused(charset: str) -> None:
    with pytest.raises(MessageError, match="not a charset for mail") as caught:
        letter(body="text", charset=charset)
    assert caught.value.field == "charset"


@pytest.mark.parametrize(
    "fields", [{"body": "中"}, {"html": "中", "body": "x"}, {"alts": {"calendar": "中"}}]
)
def test_a_charset_that_cannot_write_the_text_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(MessageError, match="cannot write all of the text"):
        letter(charset="latin-1", **fields)


@pytest.mark.parametrize("codec", ["raw_unicode_escape", "unicode_escape", "punycode", "idna"])
def test_a_codec_that_is_pythons_own_is_refused(codec: str) -> None:
    with pytest.raises(MessageError, match="not a charset for mail"):
        letter(body="text", charset=codec)
