"""What a draft may not hold, and the field that is named."""

from __future__ import annotations

import pytest

from flask_outbox.errors import (
    AddressError,
    BadHeaderError,
    MessageError,
    MessageTooLargeError,
    NoRecipientsError,
    NoSenderError,
)
from flask_outbox.mail.address import Address
from flask_outbox.mail.message import Message
from flask_outbox.mail.seal import SealDefaults

from .letters import letter


def test_a_message_without_sender_is_refused() -> None:
    with pytest.raises(NoSenderError, match="MAIL_DEFAULT_SENDER") as caught:
        letter(defaults=SealDefaults())
    assert caught.value.field == "sender"


def test_a_message_without_recipients_is_refused() -> None:
    with pytest.raises(NoRecipientsError):
        letter(Message("S"))


@pytest.mark.parametrize(
    "field", ["recipients", "cc", "bcc", "sender", "reply_to", "envelope_from"]
)
def test_a_wrong_address_names_its_field(field: str) -> None:
    with pytest.raises(AddressError) as caught:
        letter(**{field: "nobody"})
    assert caught.value.field == field


@pytest.mark.parametrize(
    "breaks", ["\r\nBcc: x@y.org", "\nx", "\rx", "\0", "\x0b", "\x85", "\u2028", "\u2029"]
)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("subject", "a{}"),
        ("recipients", ["a@b.org{}"]),
        ("cc", ["a@b.org{}"]),
        ("bcc", ["N{} <a@b.org>"]),
        ("sender", "N{} <a@b.org>"),
        ("reply_to", "a@b.org{}"),
        ("envelope_from", "a@b.org{}"),
        ("charset", "utf-8{}"),
        ("extra_headers", {"X{}": "1"}),
        ("extra_headers", {"X": "1{}"}),
        ("extra_headers", {"Message-ID": "<a@b>{}"}),
        ("extra_headers", {"Date": "1 Jan 2020 00:00:00 +0000{}"}),
        ("mail_options", ["RET=HDRS{}"]),
        ("rcpt_options", ["NOTIFY=NEVER{}"]),
        ("tags", ["a{}"]),
        ("metadata", {"a{}": "b"}),
        ("metadata", {"a": "b{}"}),
        ("alts", {"calendar{}": "x"}),
    ],
)
def test_a_line_break_is_refused_in_every_field(field: str, value: object, breaks: str) -> None:
    if isinstance(value, str):
        given: object = value.format(breaks)
    elif isinstance(value, list):
        given = [item.format(breaks) for item in value]
    else:
        given = {k.format(breaks): v.format(breaks) for k, v in value.items()}
    with pytest.raises(BadHeaderError) as caught:
        letter(**{field: given})
    assert caught.value.field == field


def test_a_line_break_in_an_own_message_id_is_refused() -> None:
    message = Message("S", ["a@b.org"])
    message.msgId = "<a@b>\r\nBcc: x@y.org"
    with pytest.raises(BadHeaderError) as caught:
        letter(message)
    assert caught.value.field == "msgId"


@pytest.mark.parametrize(
    "subject", ["a\r\nb", "a\n b", "a\r b", "a\r\n ", "\r\n a", "a\r\n \r\n b", "a\r\n\r\n b"]
)
def test_a_subject_that_is_not_folded_by_the_rules_is_refused(subject: str) -> None:
    with pytest.raises(BadHeaderError):
        letter(subject=subject)


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": "x\ud83d"},
        {"body": "x\ud83d"},
        {"html": "x\ud83d"},
        {"alts": {"calendar": "x\ud83d"}},
        {"recipients": ["x\ud83d <a@b.org>"]},
        {"extra_headers": {"X": "x\ud83d"}},
    ],
)
def test_half_a_surrogate_pair_is_refused_with_the_field(fields: dict[str, object]) -> None:
    (field,) = fields
    with pytest.raises(MessageError, match="surrogate") as caught:
        letter(**fields)
    assert caught.value.field == field


@pytest.mark.parametrize("field", ["body", "html", "subject"])
def test_bytes_where_text_belongs_are_refused(field: str) -> None:
    with pytest.raises(MessageError, match="not bytes") as caught:
        letter(**{field: b"x"})
    assert caught.value.field == field


@pytest.mark.parametrize("given", ["no at", "<a b@c>", "<a@b><c@d>", "<ü@b>", f"<{'a' * 900}@b>"])
def test_what_is_no_message_id_is_refused(given: str) -> None:
    message = Message("S", ["a@b.org"])
    message.msgId = given
    with pytest.raises(MessageError, match="not a Message-ID") as caught:
        letter(message)
    assert caught.value.field == "msgId"


@pytest.mark.parametrize(
    "date", [-1, 253_402_300_800, float("nan"), float("inf"), "yesterday", object()]
)
def test_what_is_no_date_is_refused(date: object) -> None:
    with pytest.raises(MessageError, match="Unix seconds") as caught:
        letter(date=date)
    assert caught.value.field == "date"


@pytest.mark.parametrize("option", ["", "RET=", "RET=A B", "=x", "-x", "RET=ü"])
@pytest.mark.parametrize("field", ["mail_options", "rcpt_options"])
def test_what_is_no_esmtp_parameter_is_refused(field: str, option: str) -> None:
    with pytest.raises(MessageError, match="not an ESMTP parameter") as caught:
        letter(**{field: [option]})
    assert caught.value.field == field


@pytest.mark.parametrize("size", [1_000_000, 999_000])
def test_a_message_over_the_limit_is_refused(size: int) -> None:
    defaults = SealDefaults(sender=Address("me@example.org"), max_size=1_000_000)
    with pytest.raises(MessageTooLargeError, match="MAIL_MAX_SIZE") as caught:
        letter(body="x" * size, defaults=defaults)
    assert caught.value.field == "body"


def test_attachments_count_as_they_will_be_encoded() -> None:
    message = Message("S", ["a@b.org"])
    message.attach("a.bin", data=bytes(800_000))
    with pytest.raises(MessageTooLargeError) as caught:
        letter(message, defaults=SealDefaults(sender=Address("me@example.org"), max_size=1_000_000))
    assert caught.value.field == "attachments"
