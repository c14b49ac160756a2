"""Servers whose replies make no sense, or less than they should: a clear outcome, and the next letter is sent."""

from __future__ import annotations

import asyncio

import pytest

from flask_outbox.rules.outcomes import Kind, Outcome, Phase, Report, Scope
from flask_outbox.transports.smtp_protocol import MAX_LINE, MAX_LINES
from flask_outbox.transports.smtp_sasl import MECHANISMS
from servers.scripted import CAPABILITIES, DROP, Flood, Item, ScriptedServer

from .sending import Cleared, deliver, facts, letter, letters, only, road_to, send

LOST_BEFORE = (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)
LOST_AFTER = (Kind.UNKNOWN, Scope.TRANSPORT, Phase.AFTER)

STEPS = ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT"]

CODES = ["000", "100", "199", "250", "299", "300", "334", "354", "399", "600", "999"]
STRAY = ["25", "2500", "+OK", "* OK", "SSH-2.0-x", "250x", "-250", " 250 Ok", "²50 Ok", ""]
STRANGE = [
    (step, reply)
    for step in STEPS
    for reply in [*CODES, *STRAY]
    if reply not in CODES or reply[0] != ("3" if step == "DATA" else "2")
]


@pytest.mark.parametrize(("step", "reply"), STRANGE)
def test_a_reply_that_does_not_fit_is_a_failure_of_the_road(step: str, reply: str) -> None:
    with ScriptedServer(script={step: [reply]}) as server:
        (report,) = deliver(server.port, letter())
    assert facts(report) == (LOST_AFTER if step == "CONTENT" else LOST_BEFORE)
    assert "the server sent" in only(report).text


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "CONTENT"])
def test_zeros_and_controls_in_a_reply_reach_no_log(step: str) -> None:
    reply = b"550 5.7.1 a\0b\x1b[31mc\x07\xff\xfe\xc2\x85d\re\r\n"
    with ScriptedServer(script={step: [reply.replace(b"\re", b"e")]}) as server:
        (report,) = deliver(server.port, letter())
    outcome = only(report)
    assert outcome.kind is Kind.REFUSED
    assert outcome.text.isprintable()
    assert outcome.text.startswith("a b [31mc")


def test_a_reply_of_a_megabyte_has_a_text_of_a_line() -> None:
    line = "x" * (MAX_LINE - 10)
    reply = f"550-{line}\n" * (MAX_LINES - 1) + f"550 {line}"
    with ScriptedServer(script={"RCPT": [reply]}) as server:
        (report,) = deliver(server.port, letter())
    assert only(report).code == 550
    assert len(only(report).text) <= 500


@pytest.mark.parametrize(
    "capability",
    [
        "SIZE " + "9" * 4_000,
        "SIZE -1",
        "SIZE 1e3",
        "AUTH " + "X " * 2_000,
        "AUTH=" * 500,
        "LIMITS RCPTMAX=" + "9" * 4_000,
        "LIMITS RCPTMAX=-1",
        "\0",
        "",
        "PIPELINING\t\0",
        "X" * 4_000,
    ],
)
def test_a_capability_without_sense_does_no_harm(capability: str) -> None:
    with ScriptedServer(["PIPELINING", capability]) as server:
        (report,) = deliver(server.port, letter())
    assert report.all_accepted


def test_as_many_capabilities_as_fit_are_taken() -> None:
    many = ["PIPELINING", *(f"X{n} {'y' * 3_000}" for n in range(MAX_LINES - 2))]
    with ScriptedServer(many) as server:
        (report,) = deliver(server.port, letter())
    assert report.all_accepted


@pytest.mark.parametrize("mechanism", sorted(set(MECHANISMS) - {"EXTERNAL"}))
def test_challenges_without_an_end_are_answered_a_few_times(mechanism: str) -> None:
    with ScriptedServer(
        [*CAPABILITIES, f"AUTH {mechanism}"], script={"AUTH": "334 e30=", "RESPONSE": "334 e30="}
    ) as server:
        (report,) = deliver(
            server.port,
            letter(),
            username="me",
            password="word",
            token=lambda: "token",
            auth_mechanisms=(mechanism,),
            timeout=5,
        )
    outcome: Outcome = only(report)
    assert (outcome.kind, outcome.scope) == (Kind.REFUSED, Scope.TRANSPORT)
    assert len(server.sessions[0].commands) < 8


def test_a_server_that_hangs_up_on_everyone_is_not_called_without_end() -> None:
    with ScriptedServer(script={"EHLO": DROP}) as server:
        reports = deliver(server.port, *letters(10), pool_size=2)
    assert {facts(report) for report in reports} == {LOST_BEFORE}
    assert len(server.sessions) <= 4


def test_after_the_worst_the_next_letter_is_sent() -> None:
    """One transport, one letter after the other, a different fault each."""
    worst: list[Item] = [Flood(b"x"), b"\0\xff\r\n", "999", DROP, b"250-x\r\n" * 300]

    async def main(port: int) -> list[Report]:
        async with road_to(port) as road:
            return [await send(road, one, Cleared()) for one in letters(len(worst) + 1)]

    with ScriptedServer(script={"MAIL": worst}) as server:
        reports = asyncio.run(main(server.port))
    assert [report.all_accepted for report in reports] == [False] * len(worst) + [True]
