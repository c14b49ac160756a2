"""Servers that mean harm or mean nothing: a clear outcome, a bounded share of memory, and an end."""

from __future__ import annotations

import gc
import itertools
import socket
import ssl
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flask_outbox.rules.outcomes import Kind, Phase, Scope
from flask_outbox.transports.smtp_protocol import (
    MAX_LINE,
    MAX_LINES,
    ProtocolError,
    SmtpProtocol,
)
from flask_outbox.transports.smtp_states import Command
from servers.scripted import (
    CAPABILITIES,
    DROP,
    HANG,
    PLAIN,
    Drip,
    Flood,
    Item,
    ScriptedServer,
)

from .conversing import GREETING, hear, opened
from .sending import chosen_loop, deliver, facts, letter, letters, on_each_loop, only

pytestmark = pytest.mark.timeout(30)

MEGABYTE = 2**20
LOST_BEFORE = (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)
LOST_AFTER = (Kind.UNKNOWN, Scope.TRANSPORT, Phase.AFTER)

STEPS = ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT"]

#: Bytes that a flood may cost: the largest reply and, at both ends, what is read or written at once. A loop of uvloop
#: has 256,000 more from its beginning, into which it reads.
MOST = {"asyncio": 2 * MEGABYTE, "uvloop": 2 * MEGABYTE + 256_000}

#: What a server could send without an end, and how the reply to that is called.
FLOODS = {
    "a line": b"x",
    "a reply's line": b"250-" + b"x" * 16_380,
    "lines": b"250-x\r\n",
    "long lines": b"250-" + b"x" * (MAX_LINE - 8) + b"\r\n",
    "empty lines": b"\r\n",
    "zeros": b"\0",
    "replies": b"250 2.0.0 Ok\r\n",
    "digits": b"2",
}


@contextmanager
def traced() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def grown() -> int:
    """The most bytes that were in use at once since the tracing began."""
    return tracemalloc.get_traced_memory()[1]


def greeted() -> SmtpProtocol:
    """A protocol that waits for the reply to EHLO."""
    protocol = SmtpProtocol()
    hear(protocol, GREETING)
    protocol.send(Command.EHLO, "client.example")
    return protocol


# -- without a socket: exactly how much is kept ------------------------------------------------------------------------


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_is_an_error_before_it_is_a_load(flood: bytes) -> None:
    """It is over after a line, or after so many lines: never after the hundred megabytes."""
    protocol = greeted()
    pieces = itertools.islice(itertools.cycle(flood * 1024), 100 * MEGABYTE)
    fed = 0

    def feed() -> None:
        nonlocal fed
        while piece := bytes(itertools.islice(pieces, 1024)):
            fed += len(piece)
            hear(protocol, piece)

    with pytest.raises(ProtocolError):
        feed()
    assert fed <= MAX_LINE * (MAX_LINES + 1)
    assert hear(protocol, b"250 2.0.0 Ok\r\n" * 1000) == []


def test_the_largest_reply_that_is_taken_takes_a_megabyte() -> None:
    protocol = greeted()
    line = b"x" * (MAX_LINE - 5)
    with traced():
        for _ in range(MAX_LINES - 1):
            hear(protocol, b"250-" + line + b"\r\n")
        kept = tracemalloc.get_traced_memory()[0]
        assert hear(protocol, b"250 " + line + b"\r\n") == [("EHLO", 250)]
    assert kept < 1.1 * MAX_LINE * MAX_LINES


def test_one_line_more_is_too_many() -> None:
    protocol = opened()
    protocol.send(Command.NOOP)
    hear(protocol, b"250-x\r\n" * MAX_LINES)
    with pytest.raises(ProtocolError, match="a reply without an end"):
        hear(protocol, b"250-x\r\n")


def test_one_byte_more_is_too_long() -> None:
    protocol = opened()
    protocol.send(Command.NOOP)
    hear(protocol, b"x" * MAX_LINE)
    with pytest.raises(ProtocolError, match="a reply line without an end"):
        hear(protocol, b"x")


# -- endless -----------------------------------------------------------------------------------------------------------


def check_flood(step: str, flood: str) -> None:
    sending = Flood(FLOODS[flood])
    with traced(), ScriptedServer(script={step: [sending]}) as server:
        (report,) = deliver(server.port, letter(), timeout=5)
        most = grown()
    outcome = only(report)
    # "250 2.0.0 Ok" over and over begins with the reply that was due.
    if flood == "replies" and step == "CONTENT":
        assert outcome.accepted
    elif step != "QUIT":
        assert facts(report) == (LOST_AFTER if step == "CONTENT" else LOST_BEFORE)
        assert "the server sent" in outcome.text
    else:
        assert outcome.accepted
    assert most < MOST[chosen_loop.get()]
    # Beyond what is read the kernel takes some.
    assert sending.sent < 16 * MEGABYTE


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("step", [*STEPS, "QUIT"])
def test_a_hundred_megabytes_are_not_listened_to(step: str, flood: str) -> None:
    check_flood(step, flood)


@pytest.mark.parametrize("each_loop", ["uvloop"], indirect=True)
@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("step", ["EHLO", "CONTENT"])
def test_nor_are_they_on_uvloop(step: str, flood: str, each_loop: str) -> None:
    check_flood(step, flood)


@on_each_loop
def test_a_flood_instead_of_tls_is_not_listened_to(server_tls: ssl.SSLContext) -> None:
    sending = Flood(b"\x16\x03\x03\x40\x00" + b"x" * 0x4000)
    with (
        traced(),
        ScriptedServer(tls=server_tls, script={"STARTTLS": (PLAIN, sending)}) as server,
    ):
        (report,) = deliver(server.port, letter(), tls="required", tls_verify=False, timeout=5)
        most = grown()
    assert facts(report) == LOST_BEFORE
    assert most < MOST[chosen_loop.get()]
    # Beyond what is read the kernel takes some.
    assert sending.sent < 16 * MEGABYTE


# -- slow --------------------------------------------------------------------------------------------------------------

PLAIN_REPLIES = {
    "GREETING": b"220 scripted.example ESMTP\r\n",
    "EHLO": b"250-scripted.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n",
    "MAIL": b"250 2.1.0 Sender ok\r\n",
    "RCPT": b"250 2.1.5 Recipient ok\r\n",
    "DATA": b"354 Go on\r\n",
    "CONTENT": b"250-2.0.0 Taken\r\n250 2.0.0 Ok: queued as 1\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
}


@on_each_loop
def test_replies_that_come_byte_by_byte_are_replies() -> None:
    script: dict[str, Item | list[Item]] = {
        step: Drip(reply) for step, reply in PLAIN_REPLIES.items()
    }
    with ScriptedServer(script=script) as server:
        reports = deliver(server.port, *letters(3, ["a@example.net", "b@example.net"]))
    assert all(report.all_accepted for report in reports)
    assert len(server.messages) == 3
    assert len(server.sessions) == 1


@pytest.mark.parametrize("step", STEPS)
def test_a_reply_that_never_ends_has_the_time_of_one_reply(step: str) -> None:
    """A byte now and then is no sign of life: 4,096 of them, 300 s apart, would take two weeks."""
    dripping = Drip(b"250-" + b"x" * 2_000, pause=0.02)
    with ScriptedServer(script={step: dripping}) as server:
        (report,) = deliver(server.port, letter(), timeout=0.2)
    assert facts(report) == (LOST_AFTER if step == "CONTENT" else LOST_BEFORE)
    assert "no reply within 0.2 s" in only(report).text


def test_each_reply_of_a_slow_server_has_its_time() -> None:
    """A hundred replies to one group take longer than one may."""
    to = [f"{n}@example.net" for n in range(100)]
    script = {"RCPT": Drip(b"250 2.1.5 Ok\r\n", pause=0.001)}
    with ScriptedServer(script=script) as server:
        (report,) = deliver(server.port, letter(to=to), timeout=1)
    assert report.all_accepted


# -- silent ------------------------------------------------------------------------------------------------------------


@on_each_loop
def test_a_server_that_takes_the_connection_and_says_nothing_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (report,) = deliver(silent.getsockname()[1], letter(), timeout=0.05)
    assert facts(report) == LOST_BEFORE
    assert "no reply within 0.05 s" in only(report).text


def test_a_silent_server_costs_every_letter_that_waits_the_same_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        reports = deliver(port, *letters(20), timeout=0.05, pool_size=2)
    assert {facts(report) for report in reports} == {LOST_BEFORE}


@on_each_loop
@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
def test_a_handshake_that_never_comes_is_not_waited_for(implicit: bool) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        ScriptedServer([*CAPABILITIES, "STARTTLS"], script={"STARTTLS": (PLAIN, HANG)}) as server,
    ):
        port = silent.getsockname()[1] if implicit else server.port
        tls = "implicit" if implicit else "required"
        (report,) = deliver(port, letter(), tls=tls, timeout=0.1)
    assert facts(report) == LOST_BEFORE
    assert "TLS failed" in only(report).text


@pytest.mark.parametrize("step", ["AUTH", "RESPONSE"])
def test_a_login_that_is_never_answered_is_not_waited_for(step: str) -> None:
    script: dict[str, Item | list[Item]] = {"AUTH": "334 ", step: HANG}
    with ScriptedServer(accounts={"me": "word"}, script=script) as server:
        (report,) = deliver(
            server.port,
            letter(),
            username="me",
            password="word",
            auth_mechanisms=("LOGIN",),
            timeout=0.05,
        )
    assert facts(report) == LOST_BEFORE


def test_a_server_that_never_says_goodbye_keeps_nobody() -> None:
    with ScriptedServer(script={"QUIT": HANG}) as server:
        (report,) = deliver(server.port, letter(), timeout=0.05)
    assert report.all_accepted


@on_each_loop
@pytest.mark.parametrize("capabilities", [CAPABILITIES, ["SIZE"]], ids=["pipelining", "lockstep"])
def test_a_content_that_nobody_reads_is_given_up_before_its_end(capabilities: list[str]) -> None:
    """More than the kernel holds: what waits here is dropped, and the letter was not sent."""
    large = letter(raw=b"Subject: x\r\n\r\n" + b"x" * 70 * 300_000)
    with ScriptedServer(capabilities, script={"MIDDLE": HANG}) as server:
        (report,) = deliver(server.port, large, timeout=0.1)
    assert facts(report) == LOST_BEFORE
    assert "the server took nothing for 0.1 s" in only(report).text


def test_an_envelope_that_nobody_reads_is_given_up() -> None:
    to = [f"{'x' * 60}{n}@{'y' * 60}.example.net" for n in range(60_000)]
    with ScriptedServer(script={"MAIL": (PLAIN, HANG)}) as server:
        (report,) = deliver(server.port, letter(to=to), timeout=0.1)
    assert facts(report) == LOST_BEFORE


# -- injected ----------------------------------------------------------------------------------------------------------


INJECTED = [
    b"250 Injected\r\n",
    b"250-scripted.example\r\n250 AUTH PLAIN\r\n",
    b"2",
    b"\r\n",
    b"\0",
    b"421 Bye\r\n",
    b"\x16\x03\x03",
]


@on_each_loop
@pytest.mark.parametrize("injected", INJECTED)
@pytest.mark.parametrize("tls", ["required", "opportunistic"])
def test_nothing_said_behind_starttls_is_taken_for_the_servers(
    tls: str, injected: bytes, server_tls: ssl.SSLContext
) -> None:
    script = {"STARTTLS": b"220 2.0.0 Go ahead\r\n" + injected}
    with ScriptedServer(tls=server_tls, script=script) as server:
        (report,) = deliver(server.port, letter(), tls=tls, tls_verify=False)
    assert facts(report) == LOST_BEFORE
    assert "in the clear after STARTTLS" in only(report).text
    assert [session.encrypted for session in server.sessions] in ([False], [True])
    assert not any(line.startswith("MAIL") for line in server.sessions[0].commands)


@on_each_loop
@pytest.mark.parametrize(
    "injected", [b"250 Injected\r\n", b"\0" * 100, b"\x15\x03\x03\x00\x02\x02\x28"]
)
def test_what_is_injected_in_a_packet_of_its_own_fails_the_handshake(
    injected: bytes, server_tls: ssl.SSLContext
) -> None:
    """No login goes anywhere then, nor a letter."""
    script = {"STARTTLS": (PLAIN, Drip(injected), DROP)}
    with ScriptedServer(tls=server_tls, accounts={"me": "word"}, script=script) as server:
        (report,) = deliver(
            server.port,
            letter(),
            tls="required",
            tls_verify=False,
            username="me",
            password="word",
        )
    assert facts(report) == LOST_BEFORE
    said = [line.split()[0] for session in server.sessions for line in session.commands]
    assert said == ["EHLO", "STARTTLS"]


@pytest.mark.parametrize("step", ["GREETING", "EHLO"])
def test_a_reply_before_its_command_is_an_error(step: str) -> None:
    """Whoever puts replies there wants them taken for those that TLS would protect."""
    ahead = PLAIN_REPLIES[step] + b"220 2.0.0 Go ahead\r\n"
    with ScriptedServer([*CAPABILITIES, "STARTTLS"], script={step: ahead}) as server:
        (report,) = deliver(server.port, letter(), tls="required")
    assert facts(report) == LOST_BEFORE
    assert "a reply to nothing" in only(report).text


def test_a_verdict_before_the_content_is_none() -> None:
    with ScriptedServer(script={"DATA": "354 Go on\n250 2.0.0 Ok"}) as server:
        (report,) = deliver(server.port, letter())
    assert facts(report) == LOST_BEFORE
