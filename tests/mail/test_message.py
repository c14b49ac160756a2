"""The draft: Flask-Mail's fields, and what they may hold."""

from __future__ import annotations

import copy
import inspect
import json
import pickle

import pytest

from flask_outbox.mail.address import Address
from flask_outbox.mail.message import Attachment, Message
from flask_outbox.mail.mime import compose
from flask_outbox.mail.seal import seal

from .letters import DEFAULTS, ID, NOW, Lazy, letter
from .reading import parse


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
        "list_unsubscribe": None,
        "list_unsubscribe_post": True,
        "template": None,
        "context": {},
        "locale": None,
        "entity": None,
    }


def test_every_argument_may_be_none_as_dicts_from_elsewhere_have_it() -> None:
    nothing = dict.fromkeys(inspect.signature(Message).parameters)
    del nothing["list_unsubscribe_post"]
    assert vars(Message(**nothing)) == vars(Message()) | {"subject": None}


def test_what_json_made_of_a_message_is_taken_as_it_is() -> None:
    fields = json.loads('{"sender": ["Me", "me@b.org"], "recipients": [["You", "you@b.org"]]}')
    sealed = letter(Message(**fields))
    assert (sealed.sender.name, sealed.to[0].name) == ("Me", "You")


def test_two_messages_share_no_list() -> None:
    Message().add_recipient("a@b.org")
    assert Message().recipients == []


@pytest.mark.parametrize(
    "field",
    ["recipients", "cc", "bcc", "attachments", "reply_to", "mail_options", "rcpt_options", "tags",
     "list_unsubscribe"],
)  # fmt: skip
def test_a_list_given_is_not_added_to_behind_its_owners_back(field: str) -> None:
    given = ["a@b.org"]
    getattr(Message(**{field: given}), field).append("c@d.org")
    assert given == ["a@b.org"]


@pytest.mark.parametrize("field", ["alts", "extra_headers", "metadata", "context"])
def test_a_dict_given_is_not_added_to_behind_its_owners_back(field: str) -> None:
    given = {"a": "b"}
    getattr(Message(**{field: given}), field)["c"] = "d"
    assert given == {"a": "b"}


def test_a_list_that_is_set_later_is_that_list_as_in_flask_mail() -> None:
    message, recipients = Message(), ["a@b.org"]
    message.recipients = recipients
    assert message.recipients is recipients


def test_headers_from_an_iterator_outlive_the_first_sending() -> None:
    message = Message(recipients=["a@b.org"], extra_headers=iter([("X-A", "1")]))
    assert letter(message).headers == letter(message).headers == (("X-A", "1"),)


def test_one_message_sent_twice_is_two_letters_with_two_message_ids() -> None:
    message = Message(recipients=["a@b.org"])
    first, second = (seal(message, id=id, now=NOW, defaults=DEFAULTS) for id in (ID, ID[::-1]))
    assert first.message_id != second.message_id


def test_an_own_message_id_is_kept() -> None:
    message = Message(recipients=["a@b.org"])
    message.msgId = "<own@b.org>"
    assert letter(message).message_id == "<own@b.org>"


def test_an_own_envelope_sender_is_where_bounces_go() -> None:
    message = Message(recipients=["a@b.org"], envelope_from="bounces@b.org")
    assert letter(message).envelope_from == "bounces@b.org"


def test_a_lazy_string_may_stand_wherever_a_text_belongs() -> None:
    message = Message(
        Lazy("Subject"),
        Lazy("You <a@b.org>"),
        Lazy("Text"),
        Lazy("<p>Html"),
        sender=(Lazy("Me"), "me@b.org"),
        tags=Lazy("tag"),
        extra_headers={"X-A": Lazy("1")},
    )
    message.attach(Lazy("a.txt"), "text/plain", Lazy("data"))
    sealed = letter(message)
    assert (sealed.subject, sealed.to[0].name, sealed.text, sealed.html) == (
        "Subject",
        "You",
        "Text",
        "<p>Html",
    )
    assert (sealed.sender.name, sealed.tags, sealed.headers) == ("Me", ("tag",), (("X-A", "1"),))
    assert (sealed.attachments[0].filename, sealed.attachments[0].data) == ("a.txt", b"data")


def test_two_messages_alike_are_two_as_in_flask_mail() -> None:
    first, second = Message("Hi"), Message("Hi")
    assert first != second
    assert len({first, second}) == 2
    assert first.to_dict() == second.to_dict()


def test_a_repr_tells_messages_apart_and_shows_no_body() -> None:
    message = Message("Hi", ["a@b.org"] * 50, body="secret", html="secret")
    message.attach("a.txt", data="secret")
    assert repr(message).startswith("<Message 'Hi' to ['a@b.org', ")
    assert len(repr(message)) < 120
    assert repr(message.attachments) == "[<Attachment 'a.txt' text/plain>]"


def test_a_pickled_message_is_the_same() -> None:
    message = Message("Hi", [("You", "a@b.org")], html="<p>", context={"a": [1]})
    message.attach("a.bin", data=b"\xff")
    assert pickle.loads(pickle.dumps(message)).to_dict() == message.to_dict()


def test_pickling_settles_lazy_strings_in_the_language_of_the_writer() -> None:
    message = Message(Lazy("Hi"), [(Lazy("You"), "a@b.org")], context={"a": Lazy("x")})
    message.attach(Lazy("a.txt"), data="x")
    read = pickle.loads(pickle.dumps(message))
    assert (read.subject, read.recipients, read.context, read.attachments[0].filename) == (
        "Hi",
        [("You", "a@b.org")],
        {"a": "x"},
        "a.txt",
    )
    assert [type(read.subject), type(read.context["a"])] == [str, str]


def test_a_deep_copy_shares_nothing() -> None:
    message = Message("Hi", ["a@b.org"])
    copy.deepcopy(message).add_recipient("c@d.org")
    assert message.recipients == ["a@b.org"]


def test_an_inline_file_stands_beside_the_html_that_shows_it() -> None:
    message = Message(recipients=["a@b.org"])
    message.html = f'<img src="cid:{message.attach_inline("logo.png", b"PNG")}">'
    kinds = [part.get_content_type() for part in parse(compose(letter(message))).walk()]
    assert kinds == ["multipart/related", "text/html", "image/png"]


def test_the_same_inline_file_is_attached_once() -> None:
    message = Message()
    assert message.attach_inline("a.png", b"x") == message.attach_inline("a.png", b"x")
    assert len(message.attachments) == 1


@pytest.mark.parametrize(
    "other", [("b.png", b"x", None), ("a.png", b"y", None), ("a.png", b"x", "image/x-own")]
)
def test_another_inline_file_has_another_id(other: tuple[str, bytes, str | None]) -> None:
    message = Message()
    assert message.attach_inline("a.png", b"x") != message.attach_inline(*other)
    assert len(message.attachments) == 2


def test_an_inline_text_is_a_file_too() -> None:
    message = Message()
    content_id = message.attach_inline("a.svg", "<svg/>")
    assert message.attachments[0].headers == {"Content-ID": f"<{content_id}>"}


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
    message = Message(recipients="a@b.org", cc=Address("c@d.org", "Name"), bcc=Lazy("e@f.org"))
    assert [message.recipients, message.cc, [str(one) for one in message.bcc]] == [
        ["a@b.org"],
        [Address("c@d.org", "Name")],
        ["e@f.org"],
    ]


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
