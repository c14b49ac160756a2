"""A server that fails, at each step and at random: each letter has one end, and the end that is true."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_outbox.rules.outcomes import Kind, Phase, Report, Scope
from flask_outbox.telemetry.cures import cure
from servers.process import free_port
from servers.scripted import CAPABILITIES, DROP, HALF, HANG, PLAIN, Item, ScriptedServer

from .sending import (
    Cleared,
    deliver,
    facts,
    letter,
    letters,
    on_each_loop,
    only,
    road_to,
    run,
    send,
)

LOST_BEFORE = (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)
LOST_AFTER = (Kind.UNKNOWN, Scope.TRANSPORT, Phase.AFTER)

#: What a server says to whom, and what that means.
MIXED = {
    "here": (None, Kind.ACCEPTED),
    "gone": ("550 5.1.1 Nobody", Kind.REFUSED),
    "full": ("452 4.2.2 Mailbox full", Kind.DEFERRED),
}


@on_each_loop
@pytest.mark.parametrize("step", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("capabilities", [CAPABILITIES, ["SIZE"]], ids=["pipelining", "lockstep"])
def test_a_connection_lost_before_the_content_is_a_failure_of_the_road(
    capabilities: list[str], step: str
) -> None:
    with ScriptedServer(capabilities, script={step: DROP}) as server:
        (report,) = deliver(server.port, letter())
    assert facts(report) == LOST_BEFORE
    assert len(server.sessions) == 1


@on_each_loop
def test_a_connection_lost_after_the_final_dot_leaves_it_unknown() -> None:
    with ScriptedServer(script={"CONTENT": DROP}) as server:
        (report,) = deliver(server.port, letter())
    assert facts(report) == LOST_AFTER


@on_each_loop
def test_a_connection_lost_in_the_middle_of_a_content_is_lost_before_its_end() -> None:
    large = letter(raw=b"Subject: x\r\n\r\n" + b"x" * 70 * 200_000)
    with ScriptedServer(script={"MIDDLE": DROP}) as server:
        (report,) = deliver(server.port, large)
    assert facts(report) == LOST_BEFORE


@on_each_loop
def test_recipients_refused_before_the_loss_stay_refused() -> None:
    to = ["a@example.net", "b@example.net"]
    with ScriptedServer(script={"RCPT": ["550 5.1.1 Nobody", DROP]}) as server:
        (report,) = deliver(server.port, letter(to=to))
    assert [o.kind for o in report.outcomes.values()] == [Kind.REFUSED, Kind.DEFERRED]
    with ScriptedServer(script={"RCPT": ["550 5.1.1 Nobody", None], "CONTENT": DROP}) as server:
        (report,) = deliver(server.port, letter(to=to))
    assert [o.kind for o in report.outcomes.values()] == [Kind.REFUSED, Kind.UNKNOWN]


@on_each_loop
@pytest.mark.parametrize("step", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"])
def test_a_server_that_falls_silent_is_waited_for_no_longer_than_set(step: str) -> None:
    with ScriptedServer(script={step: HANG}) as server:
        (report,) = deliver(server.port, letter(), timeout=0.05)
    assert facts(report) == LOST_BEFORE
    assert "no reply within 0.05 s" in only(report).text


@on_each_loop
def test_silence_after_the_final_dot_leaves_it_unknown() -> None:
    with ScriptedServer(script={"CONTENT": HANG}) as server:
        (report,) = deliver(server.port, letter(), timeout=0.05)
    assert facts(report) == LOST_AFTER


@on_each_loop
@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("GREETING", LOST_BEFORE),
        ("EHLO", LOST_BEFORE),
        ("MAIL", LOST_BEFORE),
        ("RCPT", LOST_BEFORE),
        ("DATA", LOST_BEFORE),
        ("CONTENT", (Kind.DEFERRED, Scope.TRANSPORT, Phase.AFTER)),
    ],
)
def test_421_is_a_failure_of_the_road_and_after_the_content_still_an_answer(
    step: str, expected: tuple[Kind, Scope, Phase]
) -> None:
    with ScriptedServer(script={step: ("421 4.3.2 Going down", DROP)}) as server:
        (report,) = deliver(server.port, letter())
    assert facts(report) == expected
    assert only(report).code == 421


@on_each_loop
@pytest.mark.parametrize(
    "garbage", [b"HTTP/1.1 400 Bad Request\r\n", b"x" * 100_000, b"250-x\r\n" * 10_000, b"\0\xff\n"]
)
@pytest.mark.parametrize(
    ("step", "expected"),
    [("GREETING", LOST_BEFORE), ("MAIL", LOST_BEFORE), ("CONTENT", LOST_AFTER)],
)
def test_garbage_instead_of_a_reply_is_a_failure_of_the_road(
    step: str, expected: tuple[Kind, Scope, Phase], garbage: bytes
) -> None:
    with ScriptedServer(script={step: garbage}) as server:
        (report,) = deliver(server.port, letter())
    assert facts(report) == expected
    assert "the server sent" in only(report).text


@on_each_loop
def test_a_greeting_that_refuses_is_the_roads_refusal() -> None:
    with ScriptedServer(script={"GREETING": "554 5.7.1 Your address is blocked"}) as server:
        (report,) = deliver(server.port, letter())
    assert facts(report) == (Kind.REFUSED, Scope.TRANSPORT, Phase.BEFORE)


@on_each_loop
def test_nobody_listening_is_a_failure_of_the_road_in_plain_words() -> None:
    port = free_port()
    for host in ("127.0.0.1", "localhost"):
        (report,) = deliver(port, letter(), host=host)
        assert facts(report) == LOST_BEFORE
        assert only(report).text == f"{host}:{port}: Connection refused"


@on_each_loop
def test_a_host_that_does_not_exist_is_a_failure_of_the_road() -> None:
    (report,) = deliver(25, letter(), host="no-such-host.invalid")
    assert facts(report) == LOST_BEFORE
    assert only(report).text.startswith("no-such-host.invalid:25: ")


# -- wrong capabilities ------------------------------------------------------------------------------------------------


CURE = "set MAIL_PIPELINING=False"


@on_each_loop
def test_a_server_that_loses_what_it_said_to_take_ahead_costs_its_time_and_is_told_of() -> None:
    with ScriptedServer(forgetful=True) as server:
        reports = deliver(server.port, *letters(2), timeout=0.1)
        (switched_off,) = deliver(server.port, letter(), pipelining=False)
    for report in reports:
        assert facts(report) == LOST_BEFORE
        assert "no reply within 0.1 s to the rest of the commands" in only(report).text
        assert CURE in cure(only(report))
    assert switched_off.all_accepted
    assert len(server.messages) == 1


def test_what_was_lost_behind_a_content_is_sent_on_a_new_connection() -> None:
    """The letter whose content it was is accepted; the next one waits, and no one gets it twice."""
    with ScriptedServer(script={"CONTENT": [(PLAIN, HANG), None]}) as server:
        reports = deliver(server.port, *letters(2), timeout=0.1)
    assert all(report.all_accepted for report in reports)
    assert len(server.messages) == 2


@pytest.mark.parametrize(
    "script",
    [
        {"RCPT": "503 5.5.1 Bad sequence of commands"},
        {"DATA": "503 5.5.1 Bad sequence of commands"},
        {"RCPT": "354 What follows is the content, I think"},
    ],
)
def test_a_server_that_loses_the_thread_is_told_of_and_the_letter_waits(
    script: dict[str, Item | list[Item]],
) -> None:
    with ScriptedServer(script=script) as server:
        (report,) = deliver(server.port, letter())
    assert facts(report) == LOST_BEFORE
    assert CURE in cure(only(report))


@on_each_loop
def test_a_server_that_hangs_up_on_what_it_said_to_take_ahead_is_told_of_and_the_letter_waits() -> (
    None
):
    script = {"MAIL": ("554 5.5.0 Error: SMTP command pipelining", DROP)}
    with ScriptedServer(script=script) as server:
        (report,) = deliver(server.port, letter())
    assert only(report).code == 554
    assert facts(report) == LOST_BEFORE
    assert CURE in cure(only(report))
    assert server.messages == []


def test_a_server_that_is_silent_from_the_first_command_is_not_suspected() -> None:
    with ScriptedServer(script={"MAIL": HANG}) as server:
        (report,) = deliver(server.port, letter(), timeout=0.1)
    assert only(report).text == "no reply within 0.1 s"
    assert CURE not in cure(only(report))


def test_no_pipelining_after_tls_is_none(server_tls: ssl.SSLContext) -> None:
    """What was announced in the clear does not count."""
    ehlo = ["250-scripted.example\n250-PIPELINING\n250 STARTTLS", "250 scripted.example"]
    with ScriptedServer(tls=server_tls, script={"EHLO": ehlo}) as server:
        (report,) = deliver(server.port, letter(), tls="required", tls_verify=False)
    assert report.all_accepted
    assert server.sessions[0].letter_trips == [["MAIL"], ["RCPT"], ["DATA"], ["CONTENT"]]


@pytest.mark.parametrize(
    ("step", "reply", "fields"),
    [
        ("MAIL", "555 5.5.4 Unsupported option: SMTPUTF8", {"to": ["jürgen@example.net"]}),
        ("RCPT", "553 5.6.7 No SMTPUTF8 after all", {"to": ["jürgen@example.net"]}),
        ("MAIL", "501 5.5.4 Syntax: MAIL FROM: <address>", {}),
        ("MAIL", "552 5.3.4 Message size exceeds fixed limit", {}),
        ("CONTENT", "554 5.6.1 No eight bits after all", {"raw": b"X: y\r\n\r\n\xfc\r\n"}),
    ],
)
def test_a_capability_that_was_not_meant_refuses_the_letter_and_no_other(
    step: str, reply: str, fields: dict[str, Any]
) -> None:
    with ScriptedServer(script={step: [reply, None]}) as server:
        refused, accepted = deliver(server.port, letter(1, **fields), letter(2))
    assert (only(refused).kind, only(refused).code) == (Kind.REFUSED, int(reply[:3]))
    assert accepted.all_accepted
    assert len(server.sessions) == 1


# -- recipients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capabilities", [CAPABILITIES, ["SIZE"]], ids=["pipelining", "lockstep"])
def test_a_greylisted_recipient_is_accepted_at_the_next_try(capabilities: list[str]) -> None:
    script = {"RCPT you@example.net": ["451 4.7.1 Greylisted, try again in 5 minutes", None]}
    with ScriptedServer(capabilities, script=script) as server:
        (first,) = deliver(server.port, letter())
        (second,) = deliver(server.port, letter())
    assert (facts(first), only(first).retry_after) == (
        (Kind.DEFERRED, Scope.RECIPIENT, Phase.BEFORE),
        300,
    )
    assert second.all_accepted


@pytest.mark.parametrize("capabilities", [CAPABILITIES, ["SIZE"]], ids=["pipelining", "lockstep"])
@pytest.mark.parametrize("order", list(permutations(MIXED)), ids="-".join)
def test_in_whatever_order_each_recipient_has_its_own_reply(
    order: tuple[str, ...], capabilities: list[str]
) -> None:
    to = [f"{name}@example.net" for name in order]
    script = {f"RCPT {name}@example.net": reply for name, (reply, _) in MIXED.items()}
    with ScriptedServer(capabilities, script=script) as server:
        (report,) = deliver(server.port, letter(to=to))
    assert [o.kind for o in report.outcomes.values()] == [MIXED[name][1] for name in order]
    assert [message.recipients for message in server.messages] == [["here@example.net"]]


# -- at random ----------------------------------------------------------------------------------------------------

_FAULTS: list[Item] = [
    *([None] * 10),
    "450 4.2.0 Later",
    "550 5.1.1 No",
    "354 Go on",
    ("421 4.3.2 Bye", DROP),
    ("250 2.0.0 Ok", DROP),
    DROP,
    (HALF, DROP),
    b"garbage\r\n",
    # More than one reply to one command: what comes behind the due one is the end.
    b"250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n",
    b"550 5.1.1 No\r\n421 4.7.0 Too many errors\r\n",
    b"354 Go on\r\n250 2.0.0 Ok\r\n",
    b"450 4.2.0 Later\r\ngarbage",
]
#: A connection that is not opened ends all letters that wait: it must be rare, or nothing else is seen.
_SCRIPTS = st.fixed_dictionaries(
    {
        **dict.fromkeys(
            ("GREETING", "EHLO"), st.lists(st.sampled_from([None] * 60 + _FAULTS), max_size=4)
        ),
        **dict.fromkeys(
            ("MAIL", "RCPT", "DATA", "CONTENT"), st.lists(st.sampled_from(_FAULTS), max_size=12)
        ),
    }
)


@settings(max_examples=60, deadline=None)
@given(_SCRIPTS, st.integers(1, 3), st.booleans(), st.sets(st.integers(0, 9), max_size=3))
def test_each_letter_ends_once_and_as_the_report_says(
    script: dict[str, list[Item]], pool_size: int, pipelining: bool, withdrawn: set[int]
) -> None:
    batch = letters(10)

    async def main(port: int) -> list[Report]:
        async with road_to(port, pool_size=pool_size, max_messages=4) as road:
            clearances = [Cleared(content=number not in withdrawn) for number in range(10)]
            sending = [send(road, *pair) for pair in zip(batch, clearances, strict=True)]
            async with asyncio.timeout(20):
                return await asyncio.gather(*sending)

    capabilities = CAPABILITIES if pipelining else ["SIZE"]
    with ScriptedServer(capabilities, script=script) as server:
        reports = run(main(server.port))
    # The script may say 354 to nobody: what is accepted then is nobody's.
    arrived = Counter(message.content for message in server.messages if message.recipients)
    for number, (a_letter, report) in enumerate(zip(batch, reports, strict=True)):
        assert a_letter.raw is not None
        times = arrived[a_letter.raw]
        kind = only(report).kind if report else None
        assert report or number in withdrawn
        assert times in {Kind.ACCEPTED: (1,), Kind.UNKNOWN: (0, 1)}.get(kind, (0,))
