"""Whatever is composed is legal, always the same, and holds no header but those that were meant."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.errors import MessageError
from flask_outbox.mail.letter import Letter
from flask_outbox.mail.message import Message
from flask_outbox.mail.mime import compose

from .letters import addrs, letter, lines, modest, texts
from .reading import assert_legal, parse

messages = st.builds(
    Message,
    subject=lines,
    recipients=st.lists(st.tuples(lines, addrs), min_size=1, max_size=3),
    body=st.none() | texts,
    html=st.none() | texts,
    cc=st.lists(addrs, max_size=2),
    extra_headers=st.dictionaries(st.sampled_from(["X-One", "X-Two"]), lines),
)
files = st.lists(st.tuples(lines, st.binary(max_size=200)), max_size=3)


def composed(message: Message, attached: list[tuple[str, bytes]]) -> tuple[Letter, bytes]:
    for name, data in attached:
        message.attach(name, "application/x-test", data)
    sealed = letter(message)
    return sealed, compose(sealed)


@modest
@given(messages, files)
def test_what_is_composed_is_legal_and_the_same_each_time(
    message: Message, attached: list[tuple[str, bytes]]
) -> None:
    sealed, content = composed(message, attached)
    assert_legal(content)
    assert compose(dataclasses.replace(sealed)) == content


@modest
@given(messages, files)
def test_the_headers_come_in_one_order(message: Message, attached: list[tuple[str, bytes]]) -> None:
    sealed, content = composed(message, attached)
    there = {"Cc": bool(sealed.cc), "Subject": bool(sealed.subject)}
    made = ["From", "To", "Cc", "Subject", "Date", "Message-ID", "MIME-Version"]
    expected = [name for name in made if there.get(name, True)]
    expected += [name for name, _ in sealed.headers]
    found = parse(content).keys()
    assert found[: len(expected)] == expected
    assert set(found[len(expected) :]) <= {"Content-Type", "Content-Transfer-Encoding"}


@modest
@given(
    field=st.sampled_from(
        ["subject", "sender", "recipients", "cc", "reply_to", "extra_headers", "filename", "type"]
    ),
    before=lines,
    control=st.sampled_from(
        ["\r\n", "\n", "\r", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", ""]
    ),
    after=st.sampled_from(
        ["", " ", "\t", "Bcc: x@example.net", " Bcc: x@example.net", "\r\n\r\nbody", "=0D=0A"]
    ),
)
def test_no_field_can_bring_a_header_of_its_own(
    field: str, before: str, control: str, after: str
) -> None:
    evil = f"{before}{control}{after}"
    message = Message("S", ["a@b.org"], "text")
    message.attach("name", "text/plain", b"x")
    if field in ("sender", "reply_to"):
        setattr(message, field, f"{evil} <a@b.org>")
    elif field in ("recipients", "cc"):
        setattr(message, field, [(evil, "a@b.org")])
    elif field == "extra_headers":
        message.extra_headers = {"X-One": evil}
    elif field == "filename":
        message.attachments[0].filename = evil
    elif field == "type":
        message.attachments[0].content_type = f"text/plain; x={evil}"
    else:
        message.subject = evil
    try:
        content = compose(letter(message))
    except MessageError:
        return
    parsed = parse(content)
    assert set(parsed.keys()) <= {
        *(
            "From",
            "To",
            "Cc",
            "Reply-To",
            "Subject",
            "Date",
            "Message-ID",
            "MIME-Version",
            "X-One",
            "Content-Type",
        )
    }
    assert len(parsed.keys()) == len(set(parsed.keys()))
    (_, attachment) = parsed.iter_parts()
    assert set(attachment.keys()) == {
        "Content-Type",
        "Content-Transfer-Encoding",
        "Content-Disposition",
    }
