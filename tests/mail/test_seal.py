"""A draft is checked once, and becomes a letter."""

from __future__ import annotations

import copy
import dataclasses

import pytest
from markupsafe import Markup

from flask_outbox.mail.address import Address
from flask_outbox.mail.message import Message
from flask_outbox.mail.seal import SealDefaults, seal

from .letters import DEFAULTS, ID, NOW, letter


def test_a_letter_holds_what_the_message_says() -> None:
    sealed = letter(
        subject="Hello",
        recipients=["Jane <jane@example.org>"],
        body="text",
        html="<p>",
        sender="Me <me@example.com>",
        cc=["cc@example.org"],
        bcc=["bcc@example.org"],
        reply_to="reply@example.org",
        date=1_000_000_000,
        extra_headers={"X-A": "1"},
        mail_options=["RET=HDRS"],
        rcpt_options=["NOTIFY=NEVER"],
        envelope_from="bounces@example.com",
        tags=["welcome"],
        metadata={"user": "7"},
    )
    assert dataclasses.asdict(sealed) == {
        "id": ID,
        "message_id": f"<{ID}@example.com>",
        "date": 1_000_000_000,
        "envelope_from": "bounces@example.com",
        "envelope_to": ("jane@example.org", "cc@example.org", "bcc@example.org"),
        "sender": {"addr": "me@example.com", "name": "Me"},
        "subject": "Hello",
        "to": ({"addr": "jane@example.org", "name": "Jane"},),
        "cc": ({"addr": "cc@example.org", "name": ""},),
        "reply_to": ({"addr": "reply@example.org", "name": ""},),
        "text": "text",
        "html": "<p>",
        "attachments": (),
        "headers": (("X-A", "1"),),
        "mail_options": ("RET=HDRS",),
        "rcpt_options": ("NOTIFY=NEVER",),
        "tags": ("welcome",),
        "metadata": {"user": "7"},
        "raw": None,
        "composer": 1,
        "charset": "utf-8",
        "alternatives": (),
        "retry_delays": None,
    }


def test_what_the_message_leaves_out_comes_from_the_defaults() -> None:
    defaults = SealDefaults(
        sender=Address("me@example.org", "Me"),
        envelope_from="bounces@example.org",
        reply_to=(Address("reply@example.org"),),
    )
    sealed = letter(defaults=defaults)
    assert sealed.sender == Address("me@example.org", "Me")
    assert sealed.envelope_from == "bounces@example.org"
    assert sealed.reply_to == (Address("reply@example.org"),)
    assert sealed.message_id == f"<{ID}@example.org>"
    assert sealed.date == int(NOW)


def test_bounces_go_to_the_sender_where_nothing_else_is_said() -> None:
    assert letter(sender="Me <me@example.com>").envelope_from == "me@example.com"


def test_the_null_path_is_written_as_in_smtp() -> None:
    assert letter(envelope_from="<>").envelope_from == ""


def test_sealing_leaves_the_message_as_it_is() -> None:
    message = Message(
        "S", ["a@b.org"], html="<p>x</p>", extra_headers={"Message-ID": "<a@b>", "X": "1"}
    )
    message.attach("a.txt", data="x", headers={"Content-ID": "<x>"})
    before = copy.deepcopy(message)
    seal(message, id=ID, now=NOW, defaults=DEFAULTS)
    attachments, before_attachments = (
        vars(message).pop("attachments"),
        vars(before).pop("attachments"),
    )
    assert vars(message) == vars(before)
    assert [vars(a) for a in attachments] == [vars(a) for a in before_attachments]


def test_a_message_sealed_twice_is_two_letters() -> None:
    message = Message("S", ["a@b.org"], "text")
    first, second = letter(message), letter(message, id="f" * 32)
    assert first.message_id != second.message_id


def test_bcc_alone_is_enough_and_stays_in_the_envelope() -> None:
    sealed = letter(Message("S", bcc=["b@example.org"]))
    assert sealed.envelope_to == ("b@example.org",)
    assert (sealed.to, sealed.cc) == ((), ())


def test_each_mailbox_is_mailed_once_whatever_the_case_of_its_domain() -> None:
    sealed = letter(
        recipients=["a@b.org", "A <a@B.org>", "A@b.org"], cc=["a@b.ORG"], bcc=["c@d.org", "c@d.org"]
    )
    assert sealed.envelope_to == ("a@b.org", "A@b.org", "c@d.org")
    assert sealed.to == (Address("a@b.org"), Address("A@b.org"))
    assert sealed.cc == (Address("a@b.ORG"),)


def test_a_string_assigned_where_a_list_belongs_is_one_address() -> None:
    message = Message("S")
    message.recipients = "a@b.org"
    assert letter(message).envelope_to == ("a@b.org",)


@pytest.mark.parametrize(
    ("reply_to", "expected"),
    [
        ("a@b.org", [Address("a@b.org")]),
        (("Name", "a@b.org"), [Address("a@b.org", "Name")]),
        (("a@b.org", "a@b.org"), [Address("a@b.org", "a@b.org")]),
        (["a@b.org", "c@d.org"], [Address("a@b.org"), Address("c@d.org")]),
    ],
)
def test_reply_to_is_one_mailbox_or_a_list(reply_to: object, expected: list[Address]) -> None:
    assert letter(reply_to=reply_to).reply_to == tuple(expected)


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        ("a\r\n b", "a b"),
        ("a\r\n\tb", "a b"),
        ("a\r\n b\r\n  c", "a b  c"),
        ("  padded ", "padded"),
        ("", ""),
        (None, ""),
        (Markup("a"), "a"),
    ],
)
def test_a_subject_may_be_folded(given: str, subject: str) -> None:
    assert letter(subject=given).subject == subject


@pytest.mark.parametrize("given", ["<own@example.net>", "own@example.net", " <own@example.net> "])
def test_an_own_message_id_wins(given: str) -> None:
    message = Message("S", ["a@b.org"])
    message.msgId = given
    assert letter(message).message_id == "<own@example.net>"


def test_one_option_may_stand_for_a_list() -> None:
    assert letter(mail_options="BODY=8BITMIME").mail_options == ("BODY=8BITMIME",)
