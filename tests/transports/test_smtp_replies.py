"""Replies as a server may send them: in pieces, wrong, or without end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_outbox.transports.smtp_protocol import (
    MAX_LINE,
    MAX_LINES,
    ProtocolError,
    Reply,
    SmtpProtocol,
)
from flask_outbox.transports.smtp_states import Command, State

from .conversing import EHLO, ENVELOPE, GREETING, hear, opened

# -- replies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "status", "text"),
    [
        ((b"5.1.1 <a@b>: Nobody", b"5.1.1 here"), "5.1.1", "<a@b>: Nobody here"),
        ((b"5.1.1",), "5.1.1", ""),
        ((b"2.1.1 of another class",), "", "2.1.1 of another class"),
        ((b"5.1.1st",), "", "5.1.1st"),
        ((b"",), "", ""),
        ((b"caf\xe9",), "", "caf\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_the_enhanced_status_is_found(lines: tuple[bytes, ...], status: str, text: str) -> None:
    assert Reply(Command.RCPT, 550, lines).status_and_text() == (status, text)


@pytest.mark.parametrize("line", [b"250", b"250 ", b"250 ok", b"250 ok\r"])
def test_text_and_carriage_return_may_be_missing(line: bytes) -> None:
    protocol = opened("SIZE")
    protocol.send(Command.NOOP)
    assert hear(protocol, line + b"\n") == [("NOOP", 250)]


def test_where_the_lines_of_a_reply_disagree_the_last_counts() -> None:
    protocol = opened("SIZE")
    protocol.send(Command.NOOP)
    assert hear(protocol, b"250-ok\r\n550 no\r\n") == [("NOOP", 550)]


def test_421_ends_the_conversation_anywhere() -> None:
    protocol = opened("PIPELINING")
    protocol.envelope(ENVELOPE)
    assert hear(protocol, b"250 ok\r\n421 bye\r\n250 ok\r\n") == [("MAIL", 250), ("RCPT", 421)]
    assert protocol.state is State.CLOSED
    assert hear(protocol, b"250 ok\r\n") == []
    with pytest.raises(RuntimeError):
        protocol.send(Command.QUIT)


def test_421_may_come_unasked() -> None:
    protocol = opened("SIZE")
    assert hear(protocol, b"421 4.4.2 timeout\r\n") == [("QUIT", 421)]
    assert protocol.state is State.CLOSED


def test_another_reply_to_nothing_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="a reply to nothing: 250"):
        hear(opened("SIZE"), b"250 ok\r\n")


def test_garbage_is_an_error() -> None:
    for garbage in (b"HTTP/1.1 400 Bad Request\r\n", b"\x16\x03\x01\r\n", b"99 low\r\n", b"2500\n"):
        with pytest.raises(ProtocolError, match="not an SMTP reply"):
            hear(SmtpProtocol(), garbage)


def test_a_line_without_an_end_is_an_error() -> None:
    protocol = SmtpProtocol()
    hear(protocol, b"220 " + b"x" * (MAX_LINE - 4))
    with pytest.raises(ProtocolError, match="without an end"):
        hear(protocol, b"x")


def test_a_reply_without_an_end_is_an_error() -> None:
    protocol = SmtpProtocol()
    hear(protocol, b"220-x\r\n" * MAX_LINES)
    with pytest.raises(ProtocolError, match="without an end"):
        hear(protocol, b"220-x\r\n")


def test_after_an_error_nothing_is_heard() -> None:
    protocol = SmtpProtocol()
    with pytest.raises(ProtocolError):
        hear(protocol, b"what?\r\n")
    assert hear(protocol, GREETING) == []


# -- properties --------------------------------------------------------------------------------------------------------

Verdict = tuple[Command, int, tuple[bytes, ...]] | str

_LINES = st.one_of(
    st.sampled_from(
        [
            b"250 ok",
            b"250-more",
            b"550 5.1.1 no",
            b"354 go",
            b"421 bye",
            b"451 later",
            b"250",
            b"334 ",
        ]
    ),
    st.binary(max_size=6),
)
_STREAMS = st.lists(
    st.tuples(_LINES, st.sampled_from([b"\r\n", b"\n", b"\r\n", b""])), max_size=10
).map(lambda lines: b"".join(line + end for line, end in lines))


def verdicts(pieces: Sequence[bytes]) -> list[Verdict]:
    """What is made of a stream of replies to a greeting, EHLO and two letters' commands."""
    protocol = SmtpProtocol()
    found: list[Verdict] = []

    def take(piece: bytes) -> bool:
        try:
            found.extend((r.command, r.code, r.lines) for r in protocol.feed(piece))
        except ProtocolError as error:
            found.append(str(error))
            return False
        return True

    take(GREETING)
    protocol.send(Command.EHLO, "client.example")
    take(EHLO)
    protocol.envelope(ENVELOPE)
    for piece in pieces:
        if not take(piece):
            break
    return found


@settings(max_examples=200)
@given(_STREAMS, st.lists(st.integers(0, 80), max_size=6))
def test_however_replies_are_cut_the_verdicts_are_the_same(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    whole = verdicts([stream])
    assert verdicts(pieces) == whole
    assert verdicts([bytes([byte]) for byte in stream]) == whole


@given(st.lists(st.binary(max_size=3000), max_size=30))
def test_whatever_a_server_sends_little_of_it_is_kept(pieces: list[bytes]) -> None:
    protocol = SmtpProtocol()
    try:
        for piece in pieces:
            hear(protocol, piece)
    except ProtocolError:
        assert protocol.state is State.CLOSED
    kept = len(protocol._rest) + sum(map(len, protocol._lines))
    assert kept <= MAX_LINE * (MAX_LINES + 1)
