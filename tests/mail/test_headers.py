"""Header fields: encoded, quoted, folded, and read back by the standard library."""

from __future__ import annotations

import re
from email.header import decode_header, make_header
from email.policy import default as policy
from email.utils import getaddresses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.mail.address import Address
from flask_outbox.mail.headers import mailbox, mailboxes, parameterised, unstructured, verbatim

from .letters import addrs, lines, modest

_WORD = re.compile(r"=\?utf-8\?([qb])\?([^?]*)\?=")


def read(field: str) -> object:
    name, value = policy.header_source_parse(field.splitlines(keepends=True))
    return policy.header_fetch_parse(name, value)


def assert_lines_are_legal(field: str) -> None:
    assert field.endswith("\r\n")
    for line in field[:-2].split("\r\n"):
        assert line.strip(), "a line of white space ends the header for some readers"
        assert "\r" not in line
        assert "\n" not in line
        assert len(line) <= 998


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("Hello", "S: Hello\r\n"),
        ("a  b", "S: a  b\r\n"),
        ("Straße frei!", "S: =?utf-8?q?Stra=C3=9Fe_frei!?=\r\n"),
        ("Grüße", "S: =?utf-8?b?R3LDvMOfZQ==?=\r\n"),
        ("日本", "S: =?utf-8?b?5pel5pys?=\r\n"),
        ("a =?utf-8?q?b?= c", "S: =?utf-8?b?YSA9P3V0Zi04P3E/Yj89IGM=?=\r\n"),
        ("word " * 15 + "end", f"S:{' word' * 14}\r\n word end\r\n"),
    ],
)
def test_a_free_text_is_written_as_expected(text: str, field: str) -> None:
    assert unstructured("S", text) == field


@modest
@given(lines)
def test_a_free_text_is_read_as_it_was_written(text: str) -> None:
    text = text.replace("\t", " ").strip()
    field = unstructured("Subject", text)
    assert_lines_are_legal(field)
    if text:
        assert str(read(field)) == text


@modest
@given(lines)
def test_an_encoded_word_is_at_most_75_long_and_holds_whole_characters(text: str) -> None:
    for line in unstructured("Subject", text + "ü").split("\r\n"):
        assert len(line) <= 76
        for word in _WORD.finditer(line):
            assert len(word[0]) <= 75
            str(make_header(decode_header(word[0])))


def test_a_word_too_long_for_any_line_is_encoded() -> None:
    field = unstructured("Subject", "x" * 2000)
    assert max(map(len, field.split("\r\n"))) <= 76
    assert str(read(field)) == "x" * 2000


@modest
@given(st.text(" ab", min_size=1, max_size=400))
def test_folding_keeps_every_space(text: str) -> None:
    text = text.strip()
    field = verbatim("X", text)
    assert_lines_are_legal(field + "" if text else "X: x\r\n")
    assert field.replace("\r\n", "") == f"X: {text}"


def test_a_value_with_a_grammar_of_its_own_is_left_alone() -> None:
    value = "=?utf-8?q?ready?= <https://example.org/?a==b>"
    assert verbatim("List-Unsubscribe", value) == f"List-Unsubscribe: {value}\r\n"


@pytest.mark.parametrize(
    ("name", "rendered"),
    [
        ("", "a@b.org"),
        ("Name", "Name <a@b.org>"),
        ("First Last", "First Last <a@b.org>"),
        ("Last, First", '"Last, First" <a@b.org>'),
        ("J. Doe", '"J. Doe" <a@b.org>'),
        ("two  spaces", '"two  spaces" <a@b.org>'),
        ('The "Best" \\', '"The \\"Best\\" \\\\" <a@b.org>'),
        ("Jörg", "=?utf-8?b?SsO2cmc=?= <a@b.org>"),
        ("=?utf-8?q?x?=", "=?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <a@b.org>"),
    ],
)
def test_a_name_is_quoted_or_encoded_as_it_needs(name: str, rendered: str) -> None:
    assert " ".join(mailbox(Address("a@b.org", name))) == rendered


@modest
@given(st.lists(st.tuples(lines, addrs), min_size=1, max_size=12))
def test_addresses_are_read_as_they_were_written(pairs: list[tuple[str, str]]) -> None:
    addresses = [Address(addr, name.replace("\t", " ").strip()) for name, addr in pairs]
    field = mailboxes("To", addresses)
    assert_lines_are_legal(field)
    # Not policy.default, which reads a space between two encoded words of a name.
    found = getaddresses([field.removeprefix("To: ")])
    assert [
        Address(addr, str(make_header(decode_header(name)))) for name, addr in found
    ] == addresses


@modest
@given(lines)
def test_a_file_name_is_read_as_it_was_written(name: str) -> None:
    name = name.replace("\t", " ")
    field = parameterised("Content-Disposition", "attachment", [("filename", name)])
    assert_lines_are_legal(field)
    assert read(field).params["filename"] == name


def test_a_plain_file_name_is_a_quoted_string() -> None:
    field = parameterised("Content-Disposition", "attachment", [("filename", "two words.txt")])
    assert field == 'Content-Disposition: attachment; filename="two words.txt"\r\n'


def test_a_file_name_beyond_ascii_is_written_by_rfc_2231() -> None:
    field = parameterised("Content-Disposition", "attachment", [("filename", "é.txt")])
    assert field == "Content-Disposition: attachment; filename*=utf-8''%C3%A9.txt\r\n"


def test_a_long_file_name_goes_on_over_several_lines() -> None:
    field = parameterised("Content-Disposition", "attachment", [("filename", "é" * 20)])
    assert field == (
        "Content-Disposition: attachment;\r\n"
        " filename*0*=utf-8''%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9;\r\n"
        " filename*1*=%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9;\r\n"
        " filename*2*=%C3%A9%C3%A9%C3%A9%C3%A9\r\n"
    )
