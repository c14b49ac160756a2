"""More recipients than a server takes at once: further transactions within the same try (RFC 5321 §4.5.3.1.10)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_outbox.rules.outcomes import Kind, Outcome, Phase, Report, Scope
from flask_outbox.transports.base import Clearance
from servers.scripted import CAPABILITIES, DROP, Item, ScriptedServer

from .sending import Cleared, deliver, letter, letters, road_to, send

MANY = "452 4.5.3 Too many recipients"
SEVEN = [f"{n}@example.net" for n in range(7)]


def crowd(refusal: str = MANY) -> list[Item]:
    """What a server says to seven recipients of which it takes three."""
    return [*[None] * 3, *[refusal] * 4]


@pytest.mark.parametrize(
    "refusal",
    [
        MANY,
        "452 Too many recipients",
        "552 Too many recipients",
        "552 5.5.3 Too many recipients",
        "550 5.5.3 Too many recipients",
        "451 4.5.3 Too many recipients",
    ],
)
@pytest.mark.parametrize("capabilities", [CAPABILITIES, ["SIZE"]], ids=["pipelining", "lockstep"])
def test_those_too_many_get_further_transactions(capabilities: list[str], refusal: str) -> None:
    script = {"RCPT": crowd(refusal)}
    with ScriptedServer(capabilities, script=script) as server:
        (report,) = deliver(server.port, letter(to=SEVEN))
    assert report.all_accepted
    assert list(report.outcomes) == SEVEN
    assert [message.recipients for message in server.messages] == [SEVEN[:3], SEVEN[3:6], SEVEN[6:]]
    assert len(server.sessions) == 1


def test_each_further_transaction_keeps_to_what_the_first_one_took() -> None:
    with ScriptedServer(script={"RCPT": crowd()}) as server:
        deliver(server.port, letter(to=SEVEN))
    commands = server.sessions[0].commands
    assert sum(line.startswith("RCPT") for line in commands) == 7 + 4


def test_the_limit_that_a_server_announces_is_kept() -> None:
    limited = [*CAPABILITIES, "LIMITS MAILMAX=100 RCPTMAX=3"]
    with ScriptedServer(limited) as server:
        (report,) = deliver(server.port, letter(to=SEVEN))
    assert report.all_accepted
    assert [message.recipients for message in server.messages] == [SEVEN[:3], SEVEN[3:6], SEVEN[6:]]


@pytest.mark.parametrize("capabilities", [CAPABILITIES, ["SIZE"]], ids=["pipelining", "lockstep"])
@pytest.mark.parametrize("data", [None, "354 Go on"])
def test_where_a_whole_transaction_is_refused_the_others_still_come(
    capabilities: list[str], data: str | None
) -> None:
    script = {"RCPT": ["550 5.1.1 Nobody"] * 3 + [None] * 4, "DATA": [data, None]}
    with ScriptedServer([*capabilities, "LIMITS RCPTMAX=3"], script=script) as server:
        (report,) = deliver(server.port, letter(to=SEVEN))
    kinds = [o.kind for o in report.outcomes.values()]
    assert kinds == [Kind.REFUSED] * 3 + [Kind.ACCEPTED] * 4


@pytest.mark.parametrize("limits", ["LIMITS", "LIMITS RCPTMAX=0", "LIMITS RCPTMAX=many"])
def test_a_limit_that_is_none_is_none(limits: str) -> None:
    with ScriptedServer([*CAPABILITIES, limits]) as server:
        deliver(server.port, letter(to=SEVEN))
    assert [message.recipients for message in server.messages] == [SEVEN]


def test_where_nobody_fits_it_is_not_their_number() -> None:
    with ScriptedServer(script={"RCPT": "452 4.3.1 Out of storage"}) as server:
        (report,) = deliver(server.port, letter(to=SEVEN))
    assert {o.kind for o in report.outcomes.values()} == {Kind.DEFERRED}
    with ScriptedServer(script={"RCPT": MANY}) as server:
        (report,) = deliver(server.port, letter(to=SEVEN))
    assert {(o.kind, o.enhanced) for o in report.outcomes.values()} == {(Kind.DEFERRED, "4.5.3")}
    assert server.messages == []


def test_a_full_mailbox_is_no_crowd() -> None:
    script = {"RCPT": [None, "452 4.2.2 Mailbox full", "552 5.2.2 Mailbox full"]}
    with ScriptedServer(script=script) as server:
        (report,) = deliver(server.port, letter(to=SEVEN[:3]))
    assert [o.kind for o in report.outcomes.values()] == [
        Kind.ACCEPTED,
        Kind.DEFERRED,
        Kind.REFUSED,
    ]
    assert len(server.messages) == 1


def test_where_the_content_is_refused_the_others_wait_for_another_try() -> None:
    script = {"RCPT": crowd(), "CONTENT": "554 5.7.1 Spam"}
    with ScriptedServer(script=script) as server:
        (report,) = deliver(server.port, letter(to=SEVEN))
    kinds = [o.kind for o in report.outcomes.values()]
    assert kinds == [Kind.REFUSED] * 3 + [Kind.DEFERRED] * 4


def test_where_the_connection_ends_in_between_nobody_is_mailed_twice() -> None:
    script = {"RCPT": crowd(), "CONTENT": [None, DROP]}
    with ScriptedServer(script=script) as server:
        (report,) = deliver(server.port, letter(to=SEVEN))
    assert [o.kind for o in report.outcomes.values()] == [
        *[Kind.ACCEPTED] * 3,
        *[Kind.UNKNOWN] * 3,
        Kind.DEFERRED,
    ]
    assert [message.recipients for message in server.messages] == [SEVEN[:3]]


def test_a_connection_that_died_between_two_transactions_is_replaced() -> None:
    script = {"RCPT": crowd(), "CONTENT": [("250 2.0.0 Ok", DROP), None]}
    with ScriptedServer(script=script) as server:
        (report,) = deliver(server.port, letter(to=SEVEN))
    assert report.all_accepted
    assert [message.recipients for message in server.messages] == [SEVEN[:3], SEVEN[3:6], SEVEN[6:]]


def test_each_transaction_is_cleared() -> None:
    clearance = Cleared()

    async def main(port: int) -> None:
        async with road_to(port) as road:
            await send(road, letter(to=SEVEN), clearance)

    with ScriptedServer(script={"RCPT": crowd()}) as server:
        asyncio.run(main(server.port))
    assert clearance.asked == ["valid", "content"] * 3


class Once(Cleared):
    """A clearance that is withdrawn after the first content."""

    async def content(self) -> bool:
        if "content" in self.asked:
            self.for_content = False
        return await super().content()


class Briefly(Cleared):
    """A clearance that is no longer valid after the first content."""

    async def content(self) -> bool:
        self.is_valid = False
        return await super().content()


@pytest.mark.parametrize("clearance", [Once, Briefly])
def test_a_letter_withdrawn_in_between_keeps_what_it_has(clearance: type[Cleared]) -> None:
    async def main(port: int, given: Clearance) -> Report:
        async with road_to(port) as road:
            return await send(road, letter(to=SEVEN), given)

    with ScriptedServer(script={"RCPT": crowd()}) as server:
        report = asyncio.run(main(server.port, clearance()))
    kinds = [o.kind for o in report.outcomes.values()]
    assert kinds == [Kind.ACCEPTED] * 3 + [Kind.DEFERRED] * 4
    assert list(report.outcomes) == SEVEN


def test_letters_sent_ahead_go_in_between() -> None:
    script = {"RCPT": [*[None] * 3, *[MANY] * 4]}
    with ScriptedServer(script=script) as server:
        reports = deliver(server.port, letter(1, SEVEN), *letters(3)[1:])
    assert all(report.all_accepted for report in reports)
    assert len(server.messages) == 5
    assert len(server.sessions) == 1


def test_a_connection_may_have_carried_enough_in_between() -> None:
    with ScriptedServer(script={"RCPT": crowd()}) as server:
        (report,) = deliver(server.port, letter(to=SEVEN), max_messages=1)
    assert report.all_accepted
    assert len(server.sessions) == 3


def test_lmtp_knows_crowds_too() -> None:
    script = {"RCPT": crowd(), "CONTENT": [None, "552 5.2.2 Full", None]}
    with ScriptedServer(lmtp=True, script=script) as server:
        (report,) = deliver(server.port, letter(to=SEVEN), lmtp=True)
    kinds = [o.kind for o in report.outcomes.values()]
    assert kinds == [Kind.ACCEPTED, Kind.REFUSED] + [Kind.ACCEPTED] * 5


def test_closing_in_between_keeps_what_was_reached() -> None:
    async def main(port: int) -> Report:
        async with road_to(port) as road:
            held = Cleared()
            sending = asyncio.create_task(send(road, letter(to=SEVEN), held))
            await held.content_asked.wait()
            await road.aclose()
            return await sending

    with ScriptedServer(script={"RCPT": crowd()}) as server:
        report = asyncio.run(main(server.port))
    kinds = [o.kind for o in report.outcomes.values()]
    assert kinds == [Kind.ACCEPTED] * 3 + [Kind.DEFERRED] * 4


_SAID = st.lists(st.sampled_from([None, MANY, "550 5.1.1 Nobody", "450 4.2.0 Later"]), max_size=20)


@settings(max_examples=60, deadline=None)
@given(
    said=_SAID,
    verdicts=st.lists(st.sampled_from([None, "554 5.7.1 Spam", DROP]), max_size=3),
    lmtp=st.booleans(),
)
def test_whatever_is_said_nobody_is_reached_twice_and_everybody_has_an_outcome(
    said: list[Item], verdicts: list[Item], lmtp: bool
) -> None:
    script = {"RCPT": list(said), "CONTENT": list(verdicts)}
    with ScriptedServer(lmtp=lmtp, script=script) as server:
        (report,) = deliver(server.port, letter(to=SEVEN), lmtp=lmtp)
    reached = [to for message in server.messages for to in message.recipients]
    assert len(reached) == len(set(reached))
    accepted = {to for to, outcome in report if outcome.accepted}
    assert set(reached) == accepted
    assert list(report.outcomes) == SEVEN


def test_the_outcome_of_those_who_come_later_is_the_recipients() -> None:
    script = {"RCPT": crowd(), "CONTENT": [None, ("421 4.3.2 Bye", DROP)]}
    with ScriptedServer(script=script) as server:
        (report,) = deliver(server.port, letter(to=SEVEN))
    last: Outcome = report.outcomes[SEVEN[6]]
    assert (last.kind, last.scope, last.phase) == (Kind.DEFERRED, Scope.RECIPIENT, Phase.BEFORE)
