"""A server that fails, at each step and at random: each letter has one end, and the end that is true."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_outbox.rules.outcomes import Kind, Phase, Report, Scope
from servers.process import free_port
from servers.scripted import CAPABILITIES, DROP, HANG, Item, ScriptedServer

from .sending import Cleared, deliver, facts, letter, letters, only, road_to, send

LOST_BEFORE = (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)
LOST_AFTER = (Kind.UNKNOWN, Scope.TRANSPORT, Phase.AFTER)


@pytest.mark.parametrize("step", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("capabilities", [CAPABILITIES, ["SIZE"]], ids=["pipelining", "lockstep"])
def test_a_connection_lost_before_the_content_is_a_failure_of_the_road(
    capabilities: list[str], step: str
) -> None:
    with ScriptedServer(capabilities, script={step: DROP}) as server:
        (report,) = deliver(server.port, letter())
    assert facts(report) == LOST_BEFORE
    assert len(server.sessions) == 1


def test_a_connection_lost_after_the_final_dot_leaves_it_unknown() -> None:
    with ScriptedServer(script={"CONTENT": DROP}) as server:
        (report,) = deliver(server.port, letter())
    assert facts(report) == LOST_AFTER


def test_a_connection_lost_in_the_middle_of_a_content_is_lost_before_its_end() -> None:
    large = letter(raw=b"Subject: x\r\n\r\n" + b"x" * 70 * 200_000)
    with ScriptedServer(script={"MIDDLE": DROP}) as server:
        (report,) = deliver(server.port, large)
    assert facts(report) == LOST_BEFORE


def test_recipients_refused_before_the_loss_stay_refused() -> None:
    to = ["a@example.net", "b@example.net"]
    with ScriptedServer(script={"RCPT": ["550 5.1.1 Nobody", DROP]}) as server:
        (report,) = deliver(server.port, letter(to=to))
    assert [o.kind for o in report.outcomes.values()] == [Kind.REFUSED, Kind.DEFERRED]
    with ScriptedServer(script={"RCPT": ["550 5.1.1 Nobody", None], "CONTENT": DROP}) as server:
        (report,) = deliver(server.port, letter(to=to))
    assert [o.kind for o in report.outcomes.values()] == [Kind.REFUSED, Kind.UNKNOWN]


@pytest.mark.parametrize("step", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"])
def test_a_server_that_falls_silent_is_waited_for_no_longer_than_set(step: str) -> None:
    with ScriptedServer(script={step: HANG}) as server:
        (report,) = deliver(server.port, letter(), timeout=0.05)
    assert facts(report) == LOST_BEFORE
    assert "no reply within 0.05 s" in only(report).text


def test_silence_after_the_final_dot_leaves_it_unknown() -> None:
    with ScriptedServer(script={"CONTENT": HANG}) as server:
        (report,) = deliver(server.port, letter(), timeout=0.05)
    assert facts(report) == LOST_AFTER


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


def test_a_greeting_that_refuses_is_the_roads_refusal() -> None:
    with ScriptedServer(script={"GREETING": "554 5.7.1 Your address is blocked"}) as server:
        (report,) = deliver(server.port, letter())
    assert facts(report) == (Kind.REFUSED, Scope.TRANSPORT, Phase.BEFORE)


def test_nobody_listening_is_a_failure_of_the_road_in_plain_words() -> None:
    port = free_port()
    for host in ("127.0.0.1", "localhost"):
        (report,) = deliver(port, letter(), host=host)
        assert facts(report) == LOST_BEFORE
        assert only(report).text == f"{host}:{port}: Connection refused"


def test_a_host_that_does_not_exist_is_a_failure_of_the_road() -> None:
    (report,) = deliver(25, letter(), host="no-such-host.invalid")
    assert facts(report) == LOST_BEFORE
    assert only(report).text.startswith("no-such-host.invalid:25: ")


# -- at random ----------------------------------------------------------------------------------------------------

_FAULTS: list[Item] = [
    *([None] * 8),
    "450 4.2.0 Later",
    "550 5.1.1 No",
    "354 Go on",
    ("421 4.3.2 Bye", DROP),
    ("250 2.0.0 Ok", DROP),
    DROP,
    b"garbage\r\n",
]
_STEPS = ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT")
_SCRIPTS = st.fixed_dictionaries(
    {step: st.lists(st.sampled_from(_FAULTS), max_size=12) for step in _STEPS}
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
        reports = asyncio.run(main(server.port))
    # The script may say 354 to nobody: what is accepted then is nobody's.
    arrived = Counter(message.content for message in server.messages if message.recipients)
    for number, (a_letter, report) in enumerate(zip(batch, reports, strict=True)):
        assert a_letter.raw is not None
        times = arrived[a_letter.raw]
        kind = only(report).kind if report else None
        assert report or number in withdrawn
        assert times in {Kind.ACCEPTED: (1,), Kind.UNKNOWN: (0, 1)}.get(kind, (0,))
