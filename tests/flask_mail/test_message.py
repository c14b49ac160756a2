"""The public ``Message``: what Flask-Mail's does besides what the draft does."""

from __future__ import annotations

import copy
import email
import pickle
from collections.abc import Callable
from email import policy
from typing import Any

import pytest
from flask import Flask

from flask_outbox import Attachment, BadHeaderError, Mail, Message, NoRecipientsError
from servers.scripted import ScriptedServer

from .conftest import message


class Lazy:
    """A string that is made when it is looked at."""

    def __init__(self, text: str) -> None:
        self.text = text

    def encode(self) -> bytes:
        return self.text.encode()

    def __str__(self) -> str:
        return self.text


def parsed(content: bytes) -> email.message.EmailMessage:
    return email.message_from_bytes(content, policy=policy.default)  # type: ignore[return-value]


def test_the_sender_is_filled_in_where_there_is_an_application(mail: Mail) -> None:
    assert message().sender == "app@example.org"


def test_without_an_application_the_sender_waits_for_the_send() -> None:
    assert message().sender is None


@pytest.mark.parametrize(
    ("sender", "shown"),
    [
        (("Me", "me@example.org"), "Me <me@example.org>"),
        (("Last, First", "me@example.org"), "Last, First <me@example.org>"),
        (("a <b> c", "me@example.org"), ("a <b> c", "me@example.org")),
        (("", "me@example.org"), ("", "me@example.org")),
    ],
)
def test_a_pair_becomes_text_unless_its_name_would_say_something_else(
    mail: Mail, sender: tuple[str, str], shown: object
) -> None:
    assert message(sender=sender).sender == shown


@pytest.mark.parametrize("sender", [("Last, First", "me@example.org"), ("a <b> c", "m@e.org")])
def test_a_pair_is_sent_under_its_name(mail: Mail, sender: tuple[str, str]) -> None:
    (address,) = parsed(message(sender=sender).as_bytes())["From"].addresses
    assert (address.display_name, address.addr_spec) == sender


def test_lazy_strings_become_text_in_the_language_of_this_moment(mail: Mail) -> None:
    made = message(subject=Lazy("s"), body=Lazy("b"), html=Lazy("h"))
    assert [type(text) for text in (made.subject, made.body, made.html)] == [str, str, str]


def test_lazy_strings_wait_where_the_message_has_a_language_of_its_own(mail: Mail) -> None:
    assert isinstance(message(subject=Lazy("s"), locale="de").subject, Lazy)


# -- its letters ---------------------------------------------------------------------------------------------------


def test_the_message_id_that_is_read_is_the_one_that_is_sent(mail: Mail) -> None:
    made = message()
    read = made.msgId
    assert read == mail.send(made).message_id == made.msgId


def test_after_a_send_the_message_id_is_that_of_the_send(mail: Mail) -> None:
    made = message()
    first, second = mail.send(made), mail.send(made)
    assert first.message_id != second.message_id == made.msgId


def test_a_message_id_of_ones_own_is_kept(mail: Mail) -> None:
    made = message()
    made.msgId = "<own@example.org>"
    assert {mail.send(made).message_id, mail.send(made).message_id} == {"<own@example.org>"}


def test_a_send_sets_the_date_and_the_next_one_sets_it_anew(mail: Mail) -> None:
    made = message()
    mail.send(made)
    first = made.date
    mail.send(made)
    assert first is not None
    assert made.date is not None
    assert made.date > first


def test_a_date_of_ones_own_is_kept(mail: Mail) -> None:
    made = message(date=1_000_000_000)
    mail.send(made)
    mail.send(made)
    assert made.date == 1_000_000_000


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_a_copy_has_letters_of_its_own(mail: Mail, copied: Any) -> None:
    made = message()
    read = made.msgId
    assert mail.send(copied(made)).message_id != read
    assert mail.send(made).message_id == read


def test_to_dict_does_not_bind_a_message_to_one_letter(mail: Mail) -> None:
    made = message()
    assert made.msgId
    assert "msgId" not in made.to_dict()


def test_to_dict_does_not_keep_the_date_of_a_send(mail: Mail) -> None:
    made = message()
    mail.send(made)
    assert "date" not in made.to_dict()
    assert message(date=1_000_000_000.0).to_dict()["date"] == 1_000_000_000.0


# -- as_bytes and as_string ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"html": "<p>Hi</p>"},
        {"body": None, "html": "<p>Grüße</p>"},
        {"body": None, "attachments": [Attachment("a.csv", "text/csv", "1")]},
        {"body": "日本", "subject": "日本", "charset": "shift_jis"},
    ],
)
def test_as_bytes_shows_what_is_sent(
    immediate: Callable[..., Mail], server: ScriptedServer, fields: dict[str, Any]
) -> None:
    mail = immediate(server)
    made = message(sender="me@example.org", **fields)
    mail.send(made)
    assert server.contents == [made.as_bytes()]


def test_all_ways_to_show_a_message_show_the_same(mail: Mail) -> None:
    made = message(date=1_000_000_000, body="Grüße")
    shown = made.as_bytes()
    assert shown == made.as_bytes() == bytes(made)
    assert shown.decode() == made.as_string() == str(made)


def test_as_bytes_shows_the_templates_and_leaves_the_message(app: Flask) -> None:
    from jinja2 import DictLoader

    app.jinja_loader = DictLoader({"hi.txt": "Hi {{ name }}"})
    with app.app_context():
        Mail(app)
        made = message(body=None, template="hi", context={"name": "Ada"})
        assert "Hi Ada" in made.as_string()
    assert made.body is None


def test_as_string_leaves_line_ends_in_addresses_out(mail: Mail) -> None:
    made = message(
        sender="me\r\n@example.org",
        recipients=["you\r\n@example.org", ("A\nB", "b@example.org")],
        reply_to="re\rply@example.org",
        cc=["c@example.org\n"],
    )
    found = parsed(made.as_bytes())
    assert (found["From"], found["Reply-To"]) == ("me@example.org", "reply@example.org")
    assert (found["To"], found["Cc"]) == (
        "you@example.org, AB <b@example.org>",
        "c@example.org",
    )


def test_as_string_works_without_recipients_and_without_an_application() -> None:
    made = Message("Hello", sender="me@example.org", body="Hi")
    assert "Subject: Hello" in made.as_string()
    assert "nobody" not in made.as_string()


def test_a_message_without_recipients_cannot_be_sent_all_the_same(mail: Mail) -> None:
    made = message(recipients=[])
    assert made.as_string()
    with pytest.raises(NoRecipientsError):
        mail.send(made)


def test_as_string_keeps_the_folds_of_a_subject(mail: Mail) -> None:
    assert (
        "Subject: one\r\n two\r\n\tthree\r\n"
        in message(subject="one\r\n two\r\n\tthree").as_string()
    )


def test_bcc_is_never_shown(mail: Mail) -> None:
    assert "secret" not in message(bcc=["secret@example.org"]).as_string()


@pytest.mark.parametrize("subject", ["a\nBcc: b@example.org", "a\r\nBcc: b@example.org", "a\r\n"])
def test_what_would_be_a_header_of_its_own_is_refused_by_as_string_too(
    mail: Mail, subject: str
) -> None:
    with pytest.raises(BadHeaderError):
        message(subject=subject).as_string()


# -- what is overridden --------------------------------------------------------------------------------------------


class OwnMessage(Message):
    def _message(self) -> Any:
        made = super()._message()
        made["X-Own"] = "yes"
        return made


def test_what_a_subclass_composes_is_shown_and_sent(
    immediate: Callable[..., Mail], server: ScriptedServer
) -> None:
    mail = immediate(server)
    made = OwnMessage("Hello", ["you@example.org"], "From here\nto there", "me@example.org")
    receipt = mail.send(made)
    (content,) = server.contents
    assert b"X-Own: yes" in content
    assert content == made.as_bytes()
    assert receipt.message_id.encode() in content


# -- has_bad_headers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({}, False),
        ({"subject": "a\r\n b"}, False),
        ({"subject": "a\r\n\tb\r\n c"}, False),
        ({"subject": "a\r\nb"}, True),
        ({"subject": "a\nb"}, True),
        ({"subject": "a\r b"}, True),
        ({"subject": "a\r\n"}, True),
        ({"subject": "a\r\n \r\n b"}, True),
        ({"subject": "\r\n a"}, True),
        ({"sender": "a@b.org\r\n"}, True),
        ({"sender": ("A\nB", "a@b.org")}, True),
        ({"recipients": ["a@b.org", "c\r@d.org"]}, True),
        ({"recipients": [("A\r", "a@b.org")]}, True),
        ({"reply_to": "a@b.org\n"}, True),
        ({"reply_to": ["a@b.org", "c@d.org\n"]}, True),
    ],
)
def test_bad_headers_are_found(fields: dict[str, Any], bad: bool) -> None:
    assert message(**{"sender": "me@example.org"} | fields).has_bad_headers() is bad


def test_the_old_name_of_has_bad_headers_warns() -> None:
    with pytest.warns(DeprecationWarning, match="has_bad_headers"):
        assert message(sender="a@b.org").is_bad_headers() is False
