"""Whatever is composed is read back by the standard library as it was written."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.errors import MessageError
from flask_outbox.mail.letter import Letter
from flask_outbox.mail.message import Message
from flask_outbox.mail.mime import compose

from .letters import addrs, letter, lines, modest, texts
from .reading import assert_legal, parse, with_crlf

messages = st.builds(
    Message,
    subject=lines,
    recipients=st.lists(
        st.tuples(lines.filter(lambda name: "@" not in name), addrs), min_size=1, max_size=3
    ),
    body=st.none() | texts,
    html=st.none() | texts,
    cc=st.lists(addrs, max_size=2),
    extra_headers=st.dictionaries(
        st.sampled_from(["X-One", "X-Two"]), lines.filter(lambda text: "=?" not in text)
    ),
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
def test_the_parser_reads_the_headers_that_were_written(
    message: Message, attached: list[tuple[str, bytes]]
) -> None:
    sealed, content = composed(message, attached)
    parsed = parse(content)
    assert parsed.get("Subject", "") == sealed.subject
    assert parsed["From"] == "me@example.org"
    assert [a.addr_spec for a in parsed["To"].addresses] == [a.addr for a in sealed.to]
    assert [a.addr_spec for a in parsed["Cc"].addresses] if sealed.cc else "Cc" not in parsed
    assert [(name, parsed[name]) for name, _ in sealed.headers] == list(sealed.headers)
    made = {"Cc": bool(sealed.cc), "Subject": bool(sealed.subject)}
    expected = [
        "From",
        "To",
        *(name for name, there in made.items() if there),
        "Date",
        "Message-ID",
        "MIME-Version",
    ]
    expected += [name for name, _ in sealed.headers]
    assert parsed.keys()[: len(expected)] == expected
    assert set(parsed.keys()[len(expected) :]) <= {
        "Content-Type",
        "Content-Transfer-Encoding",
        "Content-Disposition",
    }


@modest
@given(messages, files)
def test_the_parser_reads_the_parts_that_were_written(
    message: Message, attached: list[tuple[str, bytes]]
) -> None:
    sealed, content = composed(message, attached)
    leaves = [part for part in parse(content).walk() if not part.is_multipart()]
    found = [
        (part.get_content_type(), part.get_filename(), part.get_payload(decode=True))
        for part in leaves
    ]
    versions = [("text/plain", sealed.text), ("text/html", sealed.html)]
    expected = [
        (kind, None, with_crlf(text).encode()) for kind, text in versions if text is not None
    ]
    expected += [
        ("application/x-test", part.filename or None, part.data) for part in sealed.attachments
    ]
    if len(expected) == 1 and not sealed.attachments:
        kind, name, data = expected[0]
        expected = [(kind, name, data if data.endswith(b"\r\n") else data + b"\r\n")]
        found = [
            (kind, name, data if data.endswith(b"\r\n") else data + b"\r\n")
            for kind, name, data in found
        ]
    assert found == (expected or [("text/plain", None, b"\r\n")])


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
