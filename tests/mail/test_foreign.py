"""Messages of other makers: Flask-Mail's, Django's and Flask-Mailman's, known by their attributes."""

from __future__ import annotations

import sys
from email.message import EmailMessage
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from flask_outbox.errors import BadHeaderError, MessageError
from flask_outbox.mail.foreign import from_foreign
from flask_outbox.mail.message import Message

from .letters import letter


def flask_mails(**fields: Any) -> Any:
    flask_mail = pytest.importorskip("flask_mail")
    app = Flask(__name__)
    flask_mail.Mail(app)
    with app.app_context():
        return flask_mail.Message(**fields)


def djangos(**fields: Any) -> SimpleNamespace:
    empty = {name: [] for name in ("to", "cc", "bcc", "reply_to", "attachments", "alternatives")}
    texts = {"subject": "", "body": "", "from_email": "me@b.org", "encoding": None}
    more = {"extra_headers": {}, "content_subtype": "plain"}
    return SimpleNamespace(**(empty | texts | more | fields))


def test_every_field_of_a_flask_mail_message_is_taken_over() -> None:
    fields = {
        "subject": "Hi",
        "recipients": ["a@b.org", ("You", "c@d.org")],
        "body": "Text",
        "html": "<p>",
        "alts": {"calendar": "BEGIN:VCALENDAR"},
        "sender": ("Me", "me@b.org"),
        "cc": ["e@f.org"],
        "bcc": ["g@h.org"],
        "reply_to": "i@j.org",
        "date": 5.0,
        "charset": "iso-8859-1",
        "extra_headers": {"X-A": "1"},
        "mail_options": ["BODY=8BITMIME"],
        "rcpt_options": ["NOTIFY=NEVER"],
    }
    foreign = flask_mails(**fields)
    message = from_foreign(foreign)
    del fields["alts"], fields["sender"]
    assert {name: getattr(message, name) for name in fields} == fields
    assert message.alts == {"calendar": "BEGIN:VCALENDAR", "html": "<p>"}
    assert (message.sender, message.msgId) == ("Me <me@b.org>", foreign.msgId)


def test_the_files_of_a_flask_mail_message_are_taken_over() -> None:
    foreign = flask_mails()
    foreign.attach("a.png", "image/png", b"PNG", "inline", {"Content-ID": "<logo>"})
    (file,) = from_foreign(foreign).attachments
    assert vars(file) == vars(foreign.attachments[0])


def test_a_foreign_message_stays_as_it_is() -> None:
    foreign = flask_mails(recipients=["a@b.org"], extra_headers={"X-A": "1"})
    message = from_foreign(foreign)
    message.add_recipient("c@d.org")
    message.extra_headers["X-B"] = "2"
    assert (foreign.recipients, foreign.extra_headers) == (["a@b.org"], {"X-A": "1"})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"subject": "a\nBcc: x@y.z"}, "subject"),
        ({"recipients": ["a@b.org\nBcc: x@y.z"]}, "recipients"),
        ({"extra_headers": {"X-A": "1\r\nBcc: x@y.z"}}, "extra_headers"),
        ({"mail_options": ["RET=HDRS\r\nRCPT TO:<x@y.z>"]}, "mail_options"),
    ],
)
def test_line_breaks_of_a_flask_mail_message_are_refused_at_sealing(
    fields: dict[str, Any], field: str
) -> None:
    message = from_foreign(flask_mails(**({"recipients": ["a@b.org"]} | fields)))
    with pytest.raises(BadHeaderError) as caught:
        letter(message)
    assert caught.value.field == field


def test_every_field_of_a_django_message_is_taken_over() -> None:
    message = from_foreign(
        djangos(
            subject="Hi",
            body="Text",
            from_email="Me <me@b.org>",
            to=["a@b.org"],
            cc=["c@d.org"],
            bcc=["e@f.org"],
            reply_to=["g@h.org"],
            encoding="iso-8859-1",
            extra_headers={"X-A": "1"},
            alternatives=[("<p>", "text/html"), ("BEGIN", "text/calendar; method=REQUEST")],
            attachments=[("a.txt", "text", None), ("b.bin", b"x", "application/x-b")],
        )
    )
    assert message.to_dict() == {
        "v": 1,
        "subject": "Hi",
        "sender": "Me <me@b.org>",
        "recipients": ["a@b.org"],
        "cc": ["c@d.org"],
        "bcc": ["e@f.org"],
        "reply_to": ["g@h.org"],
        "body": "Text",
        "alts": {"html": "<p>", "calendar; method=REQUEST": "BEGIN"},
        "charset": "iso-8859-1",
        "extra_headers": {"X-A": "1"},
        "attachments": [
            {
                "filename": "a.txt",
                "content_type": "text/plain",
                "text": "text",
                "disposition": "attachment",
            },
            {
                "filename": "b.bin",
                "content_type": "application/x-b",
                "data": "eA==",
                "disposition": "attachment",
            },
        ],
    }


def test_a_django_message_whose_body_is_html_has_no_other_text() -> None:
    message = from_foreign(djangos(body="<p>", content_subtype="html"))
    assert (message.body, message.html) == (None, "<p>")


def test_a_mime_part_among_a_django_messages_files_is_one_of_ours() -> None:
    part = MIMEImage(b"PNG", _subtype="png")
    part.add_header("Content-ID", "<logo>")
    (file,) = from_foreign(djangos(attachments=[part])).attachments
    assert (file.content_type, file.data, file.headers) == (
        "image/png",
        b"PNG",
        {"Content-ID": "<logo>"},
    )


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"attachments": [MIMEMultipart()]}, "attachments"),
        ({"alternatives": [("x", "application/pdf")]}, "alternatives"),
        ({"alternatives": [("x", "text/html"), ("y", "text/html")]}, "alternatives"),
    ],
)
def test_what_a_draft_cannot_hold_of_a_django_message_is_refused(
    fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(MessageError) as caught:
        from_foreign(djangos(**fields))
    assert caught.value.field == field


def test_a_message_of_ours_is_itself() -> None:
    message = Message()
    assert from_foreign(message) is message


def test_a_message_of_the_standard_library_is_read() -> None:
    foreign = EmailMessage()
    foreign["Subject"] = "Hi"
    assert from_foreign(foreign).subject == "Hi"


@pytest.mark.parametrize("foreign", ["From: me", b"", None, {"subject": "x"}, object()])
def test_anything_else_is_refused_with_advice(foreign: object) -> None:
    with pytest.raises(MessageError, match=r"is not a message; give a flask_outbox\.Message"):
        from_foreign(foreign)


def test_flask_mail_need_not_be_there() -> None:
    assert "flask_mail" not in vars(sys.modules[from_foreign.__module__])
