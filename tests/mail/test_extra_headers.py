"""The headers a caller adds, each by what may stand in it."""

from __future__ import annotations

import pytest

from flask_outbox.errors import AddressError, BadHeaderError, MessageError
from flask_outbox.mail.address import Address
from flask_outbox.mail.message import Message
from flask_outbox.mail.mime import compose
from flask_outbox.mail.seal import SealDefaults

from .letters import letter
from .reading import parse


def test_a_message_id_among_the_headers_wins_over_all() -> None:
    message = Message("S", ["a@b.org"], extra_headers={"message-id": "<own@example.net>"})
    message.msgId = "<other@example.net>"
    sealed = letter(message)
    assert sealed.message_id == "<own@example.net>"
    assert sealed.headers == ()


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("Tue, 01 Jul 2025 12:39:17 +0200", 1_751_366_357),
        ("Tue, 01 Jul 2025 10:39:17 GMT", 1_751_366_357),
        ("Tue, 01 Jul 2025 10:39:17 -0000", 1_751_366_357),
    ],
)
def test_a_date_among_the_headers_wins(given: str, seconds: int) -> None:
    sealed = letter(date=5.0, extra_headers={"Date": given})
    assert (sealed.date, sealed.headers) == (seconds, ())


def test_a_reply_to_among_the_headers_wins_over_the_default() -> None:
    defaults = SealDefaults(
        sender=Address("me@example.org"), reply_to=(Address("reply@example.org"),)
    )
    sealed = letter(extra_headers={"Reply-To": "Own <own@example.org>"}, defaults=defaults)
    assert (sealed.reply_to, sealed.headers) == ((Address("own@example.org", "Own"),), ())


def test_other_headers_keep_their_order_and_may_be_no_strings() -> None:
    sealed = letter(extra_headers=[("X-B", 1), ("X-A", " 2 "), ("X-B", "")])
    assert sealed.headers == (("X-B", "1"), ("X-A", "2"), ("X-B", ""))


def test_a_date_header_that_is_no_date_is_refused() -> None:
    with pytest.raises(MessageError) as caught:
        letter(extra_headers={"Date": "yesterday"})
    assert caught.value.field == "extra_headers"


def test_reply_to_said_twice_is_refused() -> None:
    with pytest.raises(MessageError, match="Reply-To"):
        letter(reply_to="a@b.org", extra_headers={"Reply-To": "c@d.org"})


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("From", "sender="),
        ("TO", "recipients="),
        ("Cc", "cc="),
        ("bcc", "bcc="),
        ("Subject", "subject="),
        ("MIME-Version", "leave it out"),
        ("Content-Type", "charset="),
        ("Content-Transfer-Encoding", "leave it out"),
    ],
)
def test_a_header_that_the_message_makes_is_refused(name: str, cure: str) -> None:
    with pytest.raises(MessageError) as caught:
        letter(extra_headers={name: "x"})
    assert cure in str(caught.value)
    assert caught.value.field == "extra_headers"


def test_several_addresses_may_stand_in_a_reply_to() -> None:
    sealed = letter(extra_headers={"Reply-To": '"Doe, Jane" <a@b.org>, c@d.org'})
    assert sealed.reply_to == (Address("a@b.org", "Doe, Jane"), Address("c@d.org"))


@pytest.mark.parametrize(
    ("name", "given", "written"),
    [
        ("Sender", "a@b.org", "a@b.org"),
        ("Disposition-Notification-To", "Jörg <a@b.org>", "=?utf-8?b?SsO2cmc=?= <a@b.org>"),
        ("disposition-notification-to", "Doe, J. <a@b.org>", '"Doe, J." <a@b.org>'),
        ("Return-Receipt-To", "a@bücher.example", "a@xn--bcher-kva.example"),
        ("Resent-To", '"A, B" <a@b.org>,, c@d.org ', '"A, B" <a@b.org>, c@d.org'),
    ],
)
def test_addresses_are_written_as_they_must_be(name: str, given: str, written: str) -> None:
    assert letter(extra_headers={name: given}).headers == ((name, written),)


def test_the_parser_reads_an_address_header_as_one() -> None:
    content = compose(letter(extra_headers={"Sender": "Jörg Müller, jr. <a@b.org>"}))
    (read,) = parse(content)["Sender"].addresses
    assert (read.display_name, read.addr_spec) == ("Jörg Müller, jr.", "a@b.org")


@pytest.mark.parametrize("given", ["yes", "", "a@b.org; c@d.org", "group: a@b.org;"])
def test_what_is_no_address_is_refused_in_a_header_of_addresses(given: str) -> None:
    with pytest.raises(AddressError) as caught:
        letter(extra_headers={"Sender": given})
    assert caught.value.field == "extra_headers"


def test_a_local_part_beyond_ascii_is_refused_in_a_header_of_addresses() -> None:
    with pytest.raises(MessageError, match="'sender' the part before the @ must be ASCII"):
        letter(extra_headers={"Sender": "jörg@b.org"})


def test_a_date_is_kept_as_it_was_written() -> None:
    date = "Tue, 01 Jul 2025 12:39:17 +0200"
    assert letter(extra_headers={"Expires": date}).headers == (("Expires", date),)


@pytest.mark.parametrize("given", ["tomorrow", "2025-07-01", "99 Foo 2025", ""])
def test_what_is_no_date_is_refused_in_a_header_of_dates(given: str) -> None:
    with pytest.raises(MessageError, match="not a date for 'expires'") as caught:
        letter(extra_headers={"Expires": given})
    assert caught.value.field == "extra_headers"


def test_ids_are_kept_as_they_were_written() -> None:
    ids = " ".join(f"<{number}@example.org>" for number in range(20))
    content = compose(letter(extra_headers={"References": ids, "In-Reply-To": "<19@example.org>"}))
    assert parse(content)["References"] == ids
    assert parse(content)["In-Reply-To"] == "<19@example.org>"


def test_an_id_beyond_ascii_is_refused() -> None:
    with pytest.raises(MessageError, match="not a Message-ID for 'in-reply-to'"):
        letter(extra_headers={"In-Reply-To": "<ü@b>"})


@pytest.mark.parametrize("name", ["Sender", "In-Reply-To", "References", "Message-ID", "Date"])
def test_a_header_of_which_there_is_one_is_refused_twice(name: str) -> None:
    value = {"Date": "Tue, 01 Jul 2025 10:39:17 +0000", "Sender": "a@b.org"}.get(name, "<a@b>")
    with pytest.raises(MessageError, match="given twice"):
        letter(extra_headers=[(name, value), (name.lower(), value)])


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("Café <cafe.example.org>", "=?utf-8?b?Q2Fmw6k=?= <cafe.example.org>"),
        ("über allem, und müde", "=?utf-8?q?=C3=BCber_allem=2C_und_m=C3=BCde?="),
    ],
)
def test_of_free_text_only_what_needs_it_is_encoded(given: str, written: str) -> None:
    content = compose(letter(extra_headers={"List-Id": given}))
    assert f"\r\nList-Id: {written}\r\n".encode() in content
    assert parse(content)["List-Id"] == given


# -- leaving a list


def unsubscribe(**fields: object) -> dict[str, str]:
    return dict(letter(**fields).headers)


def test_a_url_to_leave_the_list_takes_one_click() -> None:
    assert unsubscribe(list_unsubscribe="https://example.org/u/1") == {
        "List-Unsubscribe": "<https://example.org/u/1>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def test_several_ways_to_leave_keep_their_order() -> None:
    ways = ["mailto:leave@example.org?subject=1", "HTTPS://example.org/u,1"]
    assert unsubscribe(list_unsubscribe=ways)["List-Unsubscribe"] == (
        "<mailto:leave@example.org?subject=1>, <HTTPS://example.org/u,1>"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"list_unsubscribe": "mailto:leave@example.org"},
        {"list_unsubscribe": "https://example.org/u/1", "list_unsubscribe_post": False},
    ],
)
def test_one_click_is_promised_only_where_it_is_enough(fields: dict[str, object]) -> None:
    assert unsubscribe(**fields).keys() == {"List-Unsubscribe"}


def test_the_fields_are_in_the_bytes() -> None:
    content = compose(
        letter(list_unsubscribe=["https://example.org/" + "x" * 100, "mailto:a@b.org"])
    )
    assert parse(content)["List-Unsubscribe"] == (
        f"<https://example.org/{'x' * 100}>, <mailto:a@b.org>"
    )
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in content


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "example.org",
        "https://",
        "https:///u",
        "mailto:nobody",
        "https://example.org/a b",
        "https://example.org/>, <x",
        "https://example.org/ü",
        f"https://example.org/{'x' * 900}",
    ],
)
def test_what_is_no_url_for_it_is_refused(url: str) -> None:
    with pytest.raises(MessageError, match="is not a URL for it") as caught:
        letter(list_unsubscribe=url)
    assert caught.value.field == "list_unsubscribe"


def test_a_line_break_in_the_url_is_refused() -> None:
    with pytest.raises(BadHeaderError) as caught:
        letter(list_unsubscribe="https://example.org/\r\nBcc: x@y.org")
    assert caught.value.field == "list_unsubscribe"


@pytest.mark.parametrize("name", ["List-Unsubscribe", "list-unsubscribe-post"])
def test_the_fields_are_refused_twice(name: str) -> None:
    with pytest.raises(MessageError, match="use Message\\(list_unsubscribe=…\\)"):
        letter(list_unsubscribe="https://example.org/u", extra_headers={name: "<mailto:a@b.org>"})
