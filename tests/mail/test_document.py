"""The message as a document that JSON carries."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from flask_outbox.errors import MessageError
from flask_outbox.mail.address import Address
from flask_outbox.mail.document import VERSION
from flask_outbox.mail.message import Message

from .letters import Lazy, addrs, lines, modest
from .letters import letter as sealed

EVERYTHING: dict[str, Any] = {
    "subject": "Hi",
    "recipients": ["a@b.org", ("You", "c@d.org"), Address("e@f.org", "Name")],
    "body": "Text",
    "html": "<p>Text",
    "alts": {"calendar; method=REQUEST": "BEGIN:VCALENDAR"},
    "sender": ("Me", "me@b.org"),
    "cc": "g@h.org",
    "bcc": ["i@j.org"],
    "reply_to": ("Reply", "k@l.org"),
    "date": 0.5,
    "charset": "utf-8",
    "extra_headers": {"X-A": "1"},
    "mail_options": ["RET=HDRS"],
    "rcpt_options": ["NOTIFY=NEVER"],
    "envelope_from": "<>",
    "tags": "tag",
    "metadata": {"user": "7"},
    "priority": "high",
    "transport": "bulk",
    "list_unsubscribe": "https://b.org/leave",
    "list_unsubscribe_post": False,
    "template": "mail/welcome",
    "context": {"user": {"name": "You", "ids": [1, 2.5, None, True]}},
    "locale": "de_AT",
}


def through_json(message: Message) -> Message:
    return Message.from_dict(json.loads(json.dumps(message.to_dict(), allow_nan=False)))


def full() -> Message:
    message = Message(**EVERYTHING)
    message.msgId = "<own@b.org>"
    message.attach("a.bin", None, b"\x00\xff", None, {"X-Part": "1"})
    message.attach_inline("ä.txt", "text")
    return message


def test_a_message_with_everything_comes_back_the_same() -> None:
    assert through_json(full()).to_dict() == full().to_dict()


def test_every_argument_of_a_message_is_carried() -> None:
    missing = EVERYTHING.keys() - full().to_dict().keys()
    assert missing == {"html"}  # among the alternatives, since their order counts


def test_what_comes_back_gives_the_same_letter() -> None:
    assert sealed(through_json(full())) == sealed(full())


def test_an_empty_message_is_a_version_alone() -> None:
    assert Message().to_dict() == {"v": VERSION}


def test_html_alone_goes_by_its_name() -> None:
    assert Message(html="<p>").to_dict() == {"v": VERSION, "html": "<p>"}


def test_ready_made_content_is_carried_in_base64() -> None:
    message = Message(entity=b"Content-Type: text/x\r\n\r\n")
    assert through_json(message).entity == message.entity


def test_headers_of_the_same_name_stay_apart_and_in_order() -> None:
    message = Message(extra_headers=[("X-A", "1"), ("X-A", "2")])
    assert through_json(message).extra_headers == [("X-A", "1"), ("X-A", "2")]


def test_lazy_strings_become_text() -> None:
    message = Message(
        Lazy("Hi"),
        [(Lazy("You"), Lazy("a@b.org"))],
        sender=Lazy("me@b.org"),
        tags=Lazy("tag"),
        context={"x": Lazy("y")},
    )
    assert message.to_dict() == {
        "v": VERSION,
        "subject": "Hi",
        "sender": "me@b.org",
        "recipients": [["You", "a@b.org"]],
        "tags": ["tag"],
        "context": {"x": "y"},
    }


def test_from_dict_makes_the_class_it_is_called_on() -> None:
    class Own(Message):
        pass

    assert type(Own.from_dict({"v": VERSION})) is Own


def test_the_document_shares_nothing_with_the_message() -> None:
    message = Message(context={"a": [1]}, tags=["x"])
    document = message.to_dict()
    message.context["a"].append(2)
    message.tags.append("y")
    assert (document["context"], document["tags"]) == ({"a": [1]}, ["x"])


@modest
@given(
    lines,
    st.lists(st.one_of(addrs, st.tuples(lines, addrs)), min_size=1, max_size=3),
    st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]))),
    st.one_of(st.binary(max_size=50), st.text(st.characters(exclude_categories=["Cs"]))),
)
def test_any_message_comes_back_the_same(
    subject: str, recipients: list[Any], body: str | None, data: str | bytes
) -> None:
    message = Message(subject, recipients, body)
    message.attach("a", "application/x-a", data)
    assert through_json(message).to_dict() == message.to_dict()
    assert [vars(a) for a in through_json(message).attachments] == [
        vars(a) for a in message.attachments
    ]


@pytest.mark.parametrize(
    ("document", "field", "says"),
    [
        ({}, "v", r"Message\(\*\*fields\)"),
        ({"v": "1"}, "v", "no version"),
        ({"v": True}, "v", "no version"),
        ({"v": VERSION + 1}, "v", "upgrade this process"),
        ({"v": VERSION, "recipient": "a@b.org"}, "recipient", "no such field"),
        ({"v": VERSION, "subject": 5}, "subject", "text is needed here, not int"),
        ({"v": VERSION, "body": None}, "body", "text is needed here, not NoneType"),
        ({"v": VERSION, "recipients": "a@b.org"}, "recipients", "a list is needed here, not str"),
        ({"v": VERSION, "cc": [["a", "b", "c"]]}, "cc", "a pair of texts is needed here"),
        ({"v": VERSION, "bcc": [7]}, "bcc", "text is needed here, not int"),
        ({"v": VERSION, "sender": {}}, "sender", "text is needed here, not dict"),
        ({"v": VERSION, "date": "now"}, "date", "a number of Unix seconds"),
        ({"v": VERSION, "date": True}, "date", "a number of Unix seconds"),
        ({"v": VERSION, "date": float("nan")}, "date", "a number of Unix seconds"),
        ({"v": VERSION, "tags": [1]}, "tags", "text is needed here, not int"),
        ({"v": VERSION, "metadata": {"a": 1}}, "metadata", "text is needed here, not int"),
        ({"v": VERSION, "alts": ["html"]}, "alts", "a dict is needed here, not list"),
        ({"v": VERSION, "extra_headers": [["a"]]}, "extra_headers", "a pair of texts"),
        ({"v": VERSION, "list_unsubscribe_post": 1}, "list_unsubscribe_post", "True or False"),
        ({"v": VERSION, "attachments": [{}]}, "attachments", "either its 'data' in base64 or"),
        ({"v": VERSION, "attachments": ["a"]}, "attachments", "a dict is needed here"),
        ({"v": VERSION, "attachments": [{"data": "%"}]}, "attachments", "not base64"),
        ({"v": VERSION, "attachments": [{"data": "ü"}]}, "attachments", "not base64"),
        ({"v": VERSION, "attachments": [{"text": "", "path": "x"}]}, "attachments", "no 'path'"),
        ({"v": VERSION, "attachments": [{"text": "", "filename": 1}]}, "attachments", "not int"),
        ({"v": VERSION, "entity": "%"}, "entity", "not base64"),
        ([], "document", "not list"),
    ],
)
def test_a_document_that_is_not_ours_is_refused_with_the_field(
    document: Any, field: str, says: str
) -> None:
    with pytest.raises(MessageError, match=says) as caught:
        Message.from_dict(document)
    assert caught.value.field == field


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"subject": b"Hi"}, "subject", "not bytes"),
        ({"body": "\ud800"}, "body", "half a surrogate pair"),
        ({"recipients": [None]}, "recipients", "not NoneType"),
        ({"recipients": [("a", "b", "c")]}, "recipients", "a pair of texts"),
        ({"date": "today"}, "date", "Unix seconds"),
        ({"tags": 5}, "tags", "not int"),
        ({"entity": "text"}, "entity", "bytes is needed here"),
        ({"attachments": [{"data": b""}]}, "attachments", r"message\.attach"),
        ({"context": {"user": object()}}, "context", "a object, which JSON cannot carry"),
        ({"context": {"a": [{"b": b""}]}}, "context", "a bytes, which JSON cannot carry"),
        ({"context": {"a": {1: "x"}}}, "context", "text as the name"),
        ({"context": {"a": float("inf")}}, "context", "a float, which JSON cannot carry"),
        ({"context": {"a": Markup("<b>")}}, "context", "a Markup, which JSON cannot carry"),
        ({"context": {"a": Colour.RED}}, "context", "a Colour, which JSON cannot carry"),
    ],
)
def test_what_json_would_lose_is_refused_with_the_field(
    fields: dict[str, Any], field: str, says: str
) -> None:
    fields = {key: value for key, value in fields.items() if key != "tags"}
    message = Message(**fields)
    if field == "tags":
        message.tags = 5  # type: ignore[assignment]
    with pytest.raises(MessageError, match=says) as caught:
        message.to_dict()
    assert caught.value.field == field


def test_line_breaks_from_a_document_are_refused_like_any() -> None:
    message = Message.from_dict(
        {"v": VERSION, "subject": "a\nBcc: x@y.z", "recipients": ["a@b.org"]}
    )
    with pytest.raises(MessageError) as caught:
        sealed(message)
    assert caught.value.field == "subject"
