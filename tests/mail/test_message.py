"""The draft: Flask-Mail's fields, and what they may hold."""

from __future__ import annotations

import inspect

import pytest

from flask_outbox.mail.message import Attachment, Message


def test_the_arguments_are_flask_mails_in_flask_mails_order() -> None:
    arguments = inspect.signature(Message).parameters.values()
    positional = [a.name for a in arguments if a.kind is a.POSITIONAL_OR_KEYWORD]
    assert positional == [
        "subject",
        "recipients",
        "body",
        "html",
        "alts",
        "sender",
        "cc",
        "bcc",
        "attachments",
        "reply_to",
        "date",
        "charset",
        "extra_headers",
        "mail_options",
        "rcpt_options",
    ]


def test_an_empty_message_has_flask_mails_defaults() -> None:
    message = Message()
    assert vars(message) == {
        "subject": "",
        "recipients": [],
        "body": None,
        "alts": {},
        "sender": None,
        "cc": [],
        "bcc": [],
        "attachments": [],
        "reply_to": None,
        "date": None,
        "charset": None,
        "extra_headers": None,
        "mail_options": [],
        "rcpt_options": [],
        "msgId": None,
        "envelope_from": None,
        "tags": [],
        "metadata": {},
        "priority": None,
        "transport": None,
    }


def test_two_messages_share_no_list() -> None:
    Message().add_recipient("a@b.org")
    assert Message().recipients == []


def test_html_is_one_of_the_alternatives() -> None:
    message = Message(html="<p>")
    assert message.alts == {"html": "<p>"}


def test_html_given_as_an_alternative_is_the_html() -> None:
    assert Message(alts={"html": "<p>"}).html == "<p>"


def test_html_can_be_taken_away() -> None:
    message = Message(html="<p>")
    message.html = None
    assert message.alts == {}


def test_one_address_may_stand_for_a_list() -> None:
    message = Message(recipients="a@b.org", cc=("Name", "c@d.org"), bcc="e@f.org")
    assert (message.recipients, message.cc, message.bcc) == (
        ["a@b.org"],
        [("Name", "c@d.org")],
        ["e@f.org"],
    )


def test_send_to_is_everyone_once() -> None:
    message = Message(recipients=["a@b.org"], cc=["a@b.org", "c@d.org"], bcc=["e@f.org"])
    assert message.send_to == {"a@b.org", "c@d.org", "e@f.org"}


def test_one_tag_may_stand_for_a_list() -> None:
    assert Message(tags="welcome").tags == ["welcome"]


def test_attach_adds_an_attachment() -> None:
    message = Message()
    message.attach("a.txt", "text/plain", "x", "inline", {"X-A": "1"})
    (attachment,) = message.attachments
    assert vars(attachment) == {
        "filename": "a.txt",
        "content_type": "text/plain",
        "data": "x",
        "disposition": "inline",
        "headers": {"X-A": "1"},
    }


def test_attachment_headers_may_be_pairs() -> None:
    assert Attachment(data=b"", headers=[("Content-ID", "<x>")]).headers == {"Content-ID": "<x>"}


@pytest.mark.parametrize(
    ("filename", "content_type", "data", "expected"),
    [
        ("a.pdf", None, b"", "application/pdf"),
        ("a.png", "image/x-own", b"", "image/x-own"),
        ("a.unknown-kind", None, b"", "application/octet-stream"),
        ("a.unknown-kind", None, "", "text/plain"),
        (None, None, b"", "application/octet-stream"),
        (None, None, "", "text/plain"),
    ],
)
def test_the_content_type_is_guessed_from_the_name_then_from_the_data(
    filename: str | None, content_type: str | None, data: str | bytes, expected: str
) -> None:
    assert Attachment(filename, content_type, data).content_type == expected


def test_an_attachment_without_data_is_refused() -> None:
    with pytest.raises(ValueError, match="'data' argument is required"):
        Attachment("a.txt")
