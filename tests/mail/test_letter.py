"""The stored form of a letter."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.mail.letter import SCHEMA, Letter, Part
from flask_outbox.mail.message import Message
from flask_outbox.mail.mime import compose

from .letters import ID, addrs, letter, lines, modest, texts


def blobs(sealed: Letter) -> dict[str, bytes]:
    return {part.digest: part.data for part in sealed.parts()}


def full() -> Letter:
    message = Message(
        "Grüße",
        ["Jane <jane@example.org>"],
        "text",
        "<p>",
        {"calendar": "BEGIN"},
        cc=["cc@example.org"],
        bcc=["bcc@example.org"],
        reply_to="reply@example.org",
        extra_headers={"X-A": "1"},
        mail_options=["RET=HDRS"],
        rcpt_options=["NOTIFY=NEVER"],
        charset="iso-8859-1",
        envelope_from="<>",
        tags=["t"],
        metadata={"user": "7"},
    )
    message.attach(
        "a.txt", "text/plain; charset=utf-8", b"x", "inline", {"Content-ID": "<c>", "X-B": "2"}
    )
    message.attach(data=b"\0")
    return dataclasses.replace(letter(message), retry_delays=(5.0, 60.0))


def test_every_field_comes_back() -> None:
    sealed = full()
    unset = [f.name for f in dataclasses.fields(Letter) if getattr(sealed, f.name) == f.default]
    assert unset == ["raw", "composer"]
    assert Letter.from_json(sealed.to_json(), blobs(sealed)) == sealed


@modest
@given(
    subject=lines,
    names=st.lists(
        st.tuples(lines.filter(lambda name: "@" not in name), addrs), min_size=1, max_size=3
    ),
    body=texts,
    html=texts,
    files=st.lists(st.tuples(lines, st.binary(max_size=40)), max_size=2),
)
def test_what_comes_back_gives_the_same_bytes(
    subject: str, names: list[tuple[str, str]], body: str, html: str, files: list[tuple[str, bytes]]
) -> None:
    message = Message(subject, names, body, html)
    for name, data in files:
        message.attach(name, "application/octet-stream", data)
    sealed = letter(message)
    back = Letter.from_json(sealed.to_json(), blobs(sealed))
    assert back == sealed
    assert compose(back) == compose(sealed)


def test_a_raw_message_is_stored_as_a_blob() -> None:
    sealed = dataclasses.replace(letter(), raw=b"Subject: x\r\n\r\nhello\r\n")
    assert Letter.from_json(sealed.to_json(), blobs(sealed)) == sealed
    assert "hello" not in sealed.to_json()


def test_the_stored_form_is_what_it_was() -> None:
    """Outboxes hold this text: whoever changes it raises the schema and keeps reading the old one."""
    assert json.loads(full().to_json()) == {
        "v": 1,
        "composer": 1,
        "id": ID,
        "message_id": f"<{ID}@example.org>",
        "date": 1_751_366_357,
        "envelope_from": "",
        "envelope_to": ["jane@example.org", "cc@example.org", "bcc@example.org"],
        "sender": ["me@example.org"],
        "subject": "Grüße",
        "to": [["jane@example.org", "Jane"]],
        "cc": [["cc@example.org"]],
        "reply_to": [["reply@example.org"]],
        "text": "text",
        "html": "<p>",
        "attachments": [
            {
                "filename": "a.txt",
                "content_type": "text/plain",
                "data": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
                "disposition": "inline",
                "content_id": "c",
                "headers": [["X-B", "2"]],
                "parameters": [["charset", "utf-8"]],
            },
            {
                "filename": "",
                "content_type": "application/octet-stream",
                "data": "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            },
        ],
        "headers": [["X-A", "1"]],
        "mail_options": ["RET=HDRS"],
        "rcpt_options": ["NOTIFY=NEVER"],
        "tags": ["t"],
        "metadata": {"user": "7"},
        "charset": "iso-8859-1",
        "alternatives": [["calendar", "BEGIN"], ["html", None]],
        "retry_delays": [5.0, 60.0],
    }


def test_what_is_not_set_is_not_stored() -> None:
    assert letter(body="x").to_json() == (
        f'{{"v":1,"composer":1,"id":"{ID}","message_id":"<{ID}@example.org>","date":1751366357,'
        '"envelope_from":"me@example.org","envelope_to":["someone@example.org"],"sender":["me@example.org"],'
        '"to":[["someone@example.org"]],"text":"x"}'
    )


@pytest.mark.parametrize("key", ["v", "composer"])
def test_a_letter_from_a_newer_version_is_refused(key: str) -> None:
    document = json.loads(letter().to_json())
    document[key] = SCHEMA + 1
    with pytest.raises(ValueError, match=r"newer Flask-Outbox .* upgrade this process"):
        Letter.from_json(json.dumps(document), {})


def test_a_missing_blob_is_named() -> None:
    sealed = full()
    with pytest.raises(ValueError, match=r"blob [0-9a-f]{64} is missing"):
        Letter.from_json(sealed.to_json(), {})


def test_the_parts_are_the_attachments_and_the_raw_message() -> None:
    part = Part("a.txt", "text/plain", b"x")
    sealed = dataclasses.replace(letter(), attachments=(part,), raw=b"raw")
    assert list(sealed.parts()) == [part, Part("", "message/rfc822", b"raw")]


def test_a_letter_does_not_show_its_content() -> None:
    shown = repr(full())
    assert "text" not in shown
    assert "BEGIN" not in shown


@modest
@given(
    body=st.one_of(texts, st.sampled_from(["ü" * 5_000, "中" * 5_000, "x" * 9_000])),
    data=st.integers(0, 50_000).map(bytes),
    count=st.integers(1, 30),
)
def test_the_size_is_close_to_the_bytes(body: str, data: bytes, count: int) -> None:
    message = Message("S", [f"someone{number}@example.org" for number in range(count)], body)
    message.attach("a.bin", data=data)
    sealed = letter(message)
    assert abs(sealed.size - len(compose(sealed))) < 2_500 + len(body.encode()) * 0.4


def test_the_size_of_a_raw_message_is_its_own() -> None:
    assert dataclasses.replace(letter(), raw=b"12345").size == 5
