"""What the ``email`` package reads in our bytes and in its own is the same, but for listed differences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.mail.letter import Letter
from flask_outbox.mail.message import Message
from flask_outbox.mail.mime import compose

from .differences import DIFFERENCES, Fact
from .letters import addrs, letter, lines, modest, texts
from .oracle import read, said, written_by_email

messages = st.builds(
    Message,
    subject=lines,
    recipients=st.lists(st.tuples(lines, addrs), min_size=1, max_size=3),
    body=st.none() | texts,
    html=st.none() | texts,
    cc=st.lists(addrs, max_size=2),
    extra_headers=st.dictionaries(st.sampled_from(["X-One", "X-Two"]), lines),
)
files = st.lists(st.tuples(lines, st.binary(max_size=100), st.booleans()), max_size=3)


def assert_read_alike(sealed: Letter) -> None:
    expected, ours, theirs = said(sealed), read(compose(sealed)), read(written_by_email(sealed))
    assert ours.keys() == theirs.keys() == expected.keys() | {"Date", "parts"}
    for where, found in ours.items():
        fact = Fact(where, expected.get(where, found), found, theirs[where])
        if fact.ours == fact.theirs == fact.said:
            continue
        assert any(difference.covers(fact) for difference in DIFFERENCES), fact


@modest
@given(messages, files)
def test_a_message_is_read_as_it_was_said_and_as_email_writes_it(
    message: Message, attached: list[tuple[str, bytes, bool]]
) -> None:
    for number, (name, data, inline) in enumerate(attached):
        if inline and message.html:
            message.html += f"<img src='cid:{number}'>"
            message.attach(name, "image/x-test", data, "inline", {"Content-ID": f"<{number}>"})
        else:
            message.attach(name, "application/x-test", data)
    assert_read_alike(letter(message))


@pytest.mark.parametrize("fields", [difference.example for difference in DIFFERENCES])
def test_the_examples_of_the_differences_are_covered(fields: dict[str, object]) -> None:
    assert_read_alike(letter(**fields))
