"""Where a caller puts what a stranger wrote: each field and parameter of a message and its attachments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from flask_outbox import Message

from .oracle import Asked

Fields = dict[str, Any]

#: The id of the letters whose boundaries an attacker knows beforehand.
ID = "0197f3a2c4d57e1f8a9b0c1d2e3f4a5b"

#: Every kind of field, so that each payload could break into each of them.
BASE: Fields = {
    "subject": "Hello",
    "recipients": ["to@example.org"],
    "cc": ["cc@example.org"],
    "bcc": ["bcc@example.org"],
    "sender": "me@example.org",
    "reply_to": "reply@example.org",
    "envelope_from": "bounces@example.org",
    "body": "Hello\n",
    "html": "<p>Hello</p>",
    "extra_headers": {"X-Own": "1"},
    "list_unsubscribe": ["https://example.org/out", "mailto:out@example.org"],
    "tags": ["welcome"],
    "metadata": {"user": "42"},
}

#: The attachment that every message has.
FILE: Fields = {"filename": "a.bin", "content_type": "application/pdf", "data": b"data"}


def nothing(payload: str) -> Fields:
    return {}


@dataclass(frozen=True)
class Place:
    """One place for a payload.

    :param field: what an error must name.
    :param fields: of the message, with the payload; over :data:`BASE`.
    :param file: of the attachment, over :data:`FILE`.
    :param msg_id: what the attribute of that name becomes; "{}" in it stands for the payload.
    :param header: the header that is asked for besides; likewise.
    :param leaves: how many parts are asked for besides.
    :param whole: whether the payload may be all of an address, which then is what was asked for.
    """

    name: str
    field: str
    fields: Callable[[str], Fields] = nothing
    file: Callable[[str], Fields] = nothing
    msg_id: str | None = None
    header: str = ""
    leaves: int = 0
    whole: bool = False

    def asked(self, payload: str) -> Asked:
        """What the caller asks for by putting that payload here."""
        return Asked(put(self.header, payload), Asked.leaves + self.leaves, self.whole)

    def message(self, payload: str, kind: Callable[..., Any] = Message) -> Any:
        """A message with the payload here.

        :param kind: Flask-Mail's class, or ours.
        """
        message = kind(**BASE | self.fields(payload))
        if self.field != "entity":
            message.attach(**FILE | self.file(payload))
        if self.msg_id is not None:
            message.msgId = put(self.msg_id, payload)
        return message


def put(form: Any, payload: str) -> Any:
    """The form with the payload in the place of each "{}"."""
    if isinstance(form, str):
        return form.replace("{}", payload)
    if isinstance(form, dict):
        return {put(key, payload): put(value, payload) for key, value in form.items()}
    if isinstance(form, list | tuple):
        return type(form)(put(item, payload) for item in form)
    return form


def _in(field: str, *forms: Any, **more: Any) -> Iterator[Place]:
    """A place for each form of a field's value."""
    for form in forms:
        fields = lambda payload, form=form: {field: put(form, payload)}  # noqa: E731
        yield Place(f"{field}={form!r}", field, fields, **more)


def _in_file(field: str, *forms: Any, **more: Any) -> Iterator[Place]:
    """A place for each form of an attachment's field."""
    for form in forms:
        file = lambda payload, form=form: {field: put(form, payload)}  # noqa: E731
        yield Place(f"Attachment({field}={form!r})", "attachments", file=file, **more)


def _in_mailbox(field: str) -> Iterator[Place]:
    yield from _in(field, "a{}@example.org", "{}a@example.org", "a@{}example.org")
    yield from _in(field, "Ann {} <a@example.org>", '"{}" <a@example.org>')
    yield from _in(field, "{}", "a@example.org{}", "<a@example.org>{}", whole=True)


def _in_a_list(field: str) -> Iterator[Place]:
    yield from _in(
        field, ["a{}@example.org"], ["Ann {} <a@example.org>"], [("{}", "a@example.org")]
    )
    yield from _in(field, ["{}"], ["a@example.org{}"], whole=True)


#: Further files whose content is the payload.
_CONTENTS: dict[str, Callable[[str], Fields]] = {
    "text": lambda payload: {"content_type": "text/html", "data": payload},
    "bytes": lambda payload: {"data": payload.encode(errors="replace")},
    "a message": lambda payload: {
        "content_type": "message/rfc822",
        "data": f"Subject: x\r\n\r\n{payload}",
    },
}

PLACES: list[Place] = [
    *_in("subject", "{}", "Hello {}", "{} Hello"),
    *_in_mailbox("recipients"),
    *_in_a_list("recipients"),
    *_in_a_list("cc"),
    *_in_a_list("bcc"),
    *_in_mailbox("sender"),
    *_in("sender", ("Ann {}", "a@example.org"), ("Ann", "a{}@example.org")),
    *_in_mailbox("reply_to"),
    *_in("reply_to", ("Ann {}", "a@example.org")),
    *_in("envelope_from", "a{}@example.org", "Ann {} <a@example.org>"),
    *_in("envelope_from", "a@example.org{}", "<{}>", "{}", whole=True),
    *_in("body", "{}", "Hello{}\n"),
    *_in("html", "{}", "<p>Hello{}</p>"),
    *_in("charset", "utf-8{}", "{}"),
    *_in("date", "{}"),
    *_in("tags", ["{}"], ["a{}", "b"]),
    *_in("metadata", {"a{}": "b"}, {"a": "b{}"}),
    *_in("mail_options", ["{}"], ["RET=HDRS{}"], ["ENVID={}"]),
    *_in("rcpt_options", ["{}"], ["NOTIFY=NEVER{}"], ["ORCPT=rfc822;{}"]),
    *_in("list_unsubscribe", "{}", "https://example.org/{}", ["mailto:out@example.org?subject={}"]),
    *_in("list_unsubscribe", ["https://example.org/out", "mailto:{}@example.org"]),
    *_in("priority", "{}", "high{}"),
    *_in("transport", "{}", "default{}"),
    *_in("extra_headers", {"X-Own": "{}"}, {"X-Own": "1{}"}, {"X-Own": "{} 1"}),
    *_in("extra_headers", {"Message-ID": "<a{}@example.org>"}, {"Message-ID": "{}"}),
    *_in("extra_headers", {"Date": "Mon, 1 Jan 2024 00:00:00 +0000{}"}),
    *_in("extra_headers", [("{}", "1")], header="{}"),
    *_in("extra_headers", {"X-{}": "1"}, header="X-{}"),
    Place(
        "extra_headers={'Reply-To': 'a{}@example.org'}",
        "extra_headers",
        lambda payload: (
            {"reply_to": None} | put({"extra_headers": {"Reply-To": "a{}@example.org"}}, payload)
        ),
    ),
    *_in("alts", {"calendar{}": "x"}, {"{}": "x"}, {"calendar; method={}": "x"}, leaves=1),
    *_in("alts", {"calendar": "{}"}, leaves=1),
    Place(
        "entity",
        "entity",
        lambda payload: {
            "body": None,
            "html": None,
            "entity": f"Content-Type: text/plain\r\n\r\n{payload}".encode(errors="replace"),
        },
    ),
    Place("msgId", "msgId", msg_id="<a{}@example.org>"),
    Place("msgId, all of it", "msgId", msg_id="{}"),
    *_in_file("filename", "{}", "a{}.bin", "a.bin{}"),
    *_in_file("content_type", "{}", "application/pdf{}", "application/{}", "message/{}"),
    *_in_file("content_type", "text/plain; name={}", 'text/plain; name="{}"', "text/plain; {}=x"),
    *_in_file("disposition", "{}", "attachment{}", "inline; filename={}"),
    *_in_file("headers", {"X-Own": "{}"}, {"X-Own": "1{}"}, {"Content-Description": "{}"}),
    *_in_file("headers", {"Content-ID": "<a{}>"}, {"Content-ID": "{}"}),
    *_in_file("headers", {"{}": "1"}, header="{}"),
    *_in_file("headers", {"X-{}": "1"}, header="X-{}"),
    *(
        Place(f"Attachment with {name}", "attachments", file=file)
        for name, file in _CONTENTS.items()
    ),
]


def few_places() -> list[Place]:
    """One place of each field: by which door a message comes changes nothing about how a field is read."""
    first: dict[tuple[str, bool], Place] = {}
    for place in PLACES:
        first.setdefault((place.name.partition("=")[0], place.whole), place)
    return list(first.values())
