"""Several roads: which of them a letter takes, and that nobody gets it twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_outbox.mail.letter import Letter
from flask_outbox.rules.outcomes import Kind, Outcome, Phase, Report, Scope
from flask_outbox.rules.roads import FIRST, Rests, passes_on
from flask_outbox.transports.base import Clearance, Transport
from flask_outbox.transports.failover import FailoverTransport
from flask_outbox.transports.roundrobin import RoundRobinTransport
from flask_outbox.transports.smtp import SmtpSettings, SmtpTransport
from servers.scripted import DROP, HALF, RESET, Item, ScriptedServer

from .sending import Cleared, facts, letter, letters, on_each_loop, only, run

ACCEPTED = Outcome(Kind.ACCEPTED, phase=Phase.AFTER, code=250)
DOWN = Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="connection refused")
LOCKED_OUT = Outcome(Kind.REFUSED, Scope.ACCOUNT, code=535)
NOBODY = Outcome(Kind.REFUSED, Scope.RECIPIENT, code=550)
LATER = Outcome(Kind.DEFERRED, Scope.RECIPIENT, code=450)
LOST = Outcome(Kind.UNKNOWN, Scope.TRANSPORT, Phase.AFTER, text="no reply")

TWO = ("one@example.net", "two@example.net")


#: More than the network takes at once: the dot is not written before the server has read most of it.
LARGE = letter(raw=b"Subject: 1\r\n\r\n" + b"0123456789abcde\r\n" * 1_000_000)


class Told(Transport):
    """A road that answers as it is told: by one outcome, by one for each recipient, or by an exception."""

    def __init__(
        self,
        answer: Outcome | Mapping[str, Outcome] | Exception | None = ACCEPTED,
        *,
        transcript: str = "",
        **room: int,
    ) -> None:
        self.answer = answer
        self.transcript = transcript
        self.carried: list[tuple[Letter, tuple[str, ...]]] = []
        self.closed = 0
        vars(self).update(room)

    async def deliver(self, letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        if not clearance.valid():
            return Report()
        self.carried.append((letter, to))
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, Outcome):
            return Report(dict.fromkeys(to, self.answer), transcript=self.transcript)
        return Report({one: (self.answer or {})[one] for one in to})

    async def aclose(self) -> None:
        self.closed += 1


class Clock:
    """Seconds, as a test sets them."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def failover(*roads: Transport, **more: Any) -> FailoverTransport:
    return FailoverTransport(dict(zip("abc", roads, strict=False)), rests=Rests(), **more)


def carry(road: Transport, to: Sequence[str] = TWO, clearance: Clearance | None = None) -> Report:
    sent = letter(to=to)
    return run(road.deliver(sent, sent.envelope_to, clearance or Cleared()))


# -- which road --------------------------------------------------------------------------------------------------


def test_the_first_one_takes_what_it_can() -> None:
    first, second = Told(), Told()
    report = carry(failover(first, second))
    assert (report.all_accepted, report.transport) == (True, "a")
    assert (len(first.carried), second.carried) == (1, [])


@pytest.mark.parametrize("failure", [DOWN, LOCKED_OUT])
def test_where_the_road_fails_the_next_one_takes_the_same_letter(failure: Outcome) -> None:
    first, second = Told(failure), Told()
    report = carry(failover(first, second))
    assert (report.all_accepted, report.transport) == (True, "b")
    assert first.carried == second.carried
    assert first.carried[0][0] is second.carried[0][0]


@pytest.mark.parametrize("answer", [NOBODY, LATER, LOST])
def test_what_is_not_the_roads_fault_or_may_have_been_accepted_is_tried_nowhere_else(
    answer: Outcome,
) -> None:
    second = Told()
    report = carry(failover(Told(answer), second))
    assert set(report.outcomes.values()) == {answer}
    assert report.transport == "a"
    assert second.carried == []


def test_only_the_recipients_whom_the_road_failed_go_on() -> None:
    second = Told()
    report = carry(failover(Told({TWO[0]: NOBODY, TWO[1]: DOWN}), second))
    assert report.outcomes == {TWO[0]: NOBODY, TWO[1]: ACCEPTED}
    assert [to for _, to in second.carried] == [TWO[1:]]
    assert report.transport == "a, b"


def test_a_road_that_breaks_down_forgets_nobody_who_was_accepted_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    report = carry(failover(Told({TWO[0]: ACCEPTED, TWO[1]: DOWN}), Told(RuntimeError("bug"))))
    assert report.outcomes[TWO[0]] == ACCEPTED
    assert report.outcomes[TWO[1]].kind is Kind.UNKNOWN
    assert "transport 'b' failed unexpectedly" in caplog.text


def test_a_letter_that_may_not_leave_any_more_is_not_tried() -> None:
    assert not carry(failover(Told(DOWN), Told()), clearance=Cleared(valid=False))


def test_one_whose_leave_ends_between_two_roads_keeps_what_the_first_one_said() -> None:
    class Once(Cleared):
        def valid(self) -> bool:
            return not self.asked and super().valid()

    report = carry(failover(Told(DOWN), Told()), clearance=Once())
    assert set(report.outcomes.values()) == {DOWN}


def test_where_all_fail_the_most_hopeful_failure_stands_and_no_road_is_named() -> None:
    """A fault of the account would pause all of it."""
    report = carry(failover(Told(LOCKED_OUT), Told(DOWN), Told(LOCKED_OUT)))
    assert set(report.outcomes.values()) == {DOWN}
    assert report.transport == ""


def test_what_was_said_is_told_of_each_road_where_someone_did_not_get_it() -> None:
    roads = Told(DOWN, transcript="C: 1"), Told(DOWN, transcript="C: 2")
    assert carry(failover(*roads)).transcript == "a:\nC: 1\nb:\nC: 2"
    assert carry(failover(Told(DOWN, transcript="C: 1"), Told())).transcript == ""


def test_one_inside_another_names_the_road_that_took_it() -> None:
    inner = FailoverTransport({"x": Told(DOWN), "y": Told()}, rests=Rests())
    assert carry(failover(Told(DOWN), inner)).transport == "y"


def test_there_is_room_for_what_the_roomiest_road_takes() -> None:
    road = failover(Told(concurrency=2, connections=1), Told(concurrency=8, kept=2, connections=4))
    assert (road.concurrency, road.kept, road.connections) == (8, 2, 5)


def test_those_that_it_has_to_itself_are_closed_with_it() -> None:
    mine, borrowed = Told(), Told()
    run(failover(mine, borrowed, borrowed=["b"]).aclose())
    assert (mine.closed, borrowed.closed) == (1, 0)


# -- what is set aside -------------------------------------------------------------------------------------------


def test_a_road_that_failed_is_spared_for_a_while_then_tried_again() -> None:
    clock, first = Clock(), Told(DOWN)
    road = failover(first, Told(), clock=clock)
    carry(road)
    carry(road)
    assert len(first.carried) == 1
    clock.now += FIRST
    first.answer = ACCEPTED
    assert carry(road).transport == "a"


def test_what_is_set_aside_is_tried_where_no_other_takes_the_letter() -> None:
    first, second = Told(DOWN), Told()
    road = failover(first, second)
    carry(road)
    first.answer, second.answer = ACCEPTED, DOWN
    assert carry(road).transport == "a"


def test_a_dropped_answer_sets_the_road_aside_for_other_letters() -> None:
    road = failover(Told(LOST), Told())
    carry(road)
    assert carry(road).transport == "b"


def test_roads_that_share_their_rests_spare_each_others() -> None:
    rests, shared = Rests(), Told(DOWN)
    carry(FailoverTransport({"a": shared, "b": Told()}, rests=rests))
    carry(FailoverTransport({"a": shared, "c": Told()}, rests=rests))
    assert len(shared.carried) == 1


def test_it_is_logged_once_when_a_road_is_set_aside_and_when_it_is_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    clock, first = Clock(), Told(DOWN)
    road = failover(first, Told(), clock=clock)
    carry(road)
    carry(road)
    clock.now += FIRST
    first.answer = ACCEPTED
    carry(road)
    carry(road)
    assert [record.message for record in caplog.records] == [
        "transport 'a' is set aside for 30 seconds, while others take its mail: connection refused",
        "transport 'a' takes mail again",
    ]


# -- in turn -----------------------------------------------------------------------------------------------------


def roundrobin(*roads: Transport, **more: Any) -> RoundRobinTransport:
    return RoundRobinTransport(dict(zip("abc", roads, strict=False)), rests=Rests(), **more)


def test_letters_are_shared_out_evenly() -> None:
    roads = [Told(), Told(), Told()]
    road = roundrobin(*roads)
    for _ in range(9):
        carry(road)
    assert [len(one.carried) for one in roads] == [3, 3, 3]


def test_the_part_of_one_that_fails_is_shared_out_evenly_too() -> None:
    roads = [Told(), Told(DOWN), Told()]
    road = roundrobin(*roads)
    assert all(carry(road).all_accepted for _ in range(10))
    assert [len(one.carried) for one in roads] == [5, 1, 5]


def test_one_that_comes_back_has_no_arrears_to_take() -> None:
    clock, roads = Clock(), [Told(), Told(DOWN)]
    road = roundrobin(*roads, clock=clock)
    for _ in range(20):
        carry(road)
    roads[1].answer = ACCEPTED
    clock.now += FIRST
    for one in roads:
        one.carried.clear()
    for _ in range(10):
        carry(road)
    assert [len(one.carried) for one in roads] == [5, 5]


def test_there_is_room_for_what_all_of_them_take() -> None:
    road = roundrobin(Told(concurrency=2, connections=1), Told(concurrency=8, kept=2))
    assert (road.concurrency, road.kept, road.connections) == (10, 2, 2)


# -- whatever they answer ----------------------------------------------------------------------------------------

_ANSWERS = st.sampled_from([ACCEPTED, DOWN, LOCKED_OUT, NOBODY, LATER, LOST])
_TO = tuple(f"{name}@example.net" for name in "pqr")


@settings(max_examples=200)
@given(
    st.lists(st.fixed_dictionaries(dict.fromkeys(_TO, _ANSWERS)), min_size=1, max_size=3),
    st.sampled_from([FailoverTransport, RoundRobinTransport]),
)
def test_whatever_they_answer_nobody_is_tried_after_an_answer_that_stands(
    answers: list[dict[str, Outcome]], kind: type[FailoverTransport]
) -> None:
    roads = [Told(answer) for answer in answers]
    report = carry(kind(dict(zip("abc", roads, strict=False)), rests=Rests()), _TO)
    assert tuple(report.outcomes) == _TO
    for to in _TO:
        said = [
            answer[to]
            for road, answer in zip(roads, answers, strict=True)
            if any(to in tried for _, tried in road.carried)
        ]
        assert all(map(passes_on, said[:-1]))
        assert report.outcomes[to] in said
        assert report.outcomes[to] == said[-1] or passes_on(said[-1])
        assert not passes_on(said[-1]) or len(said) == len(roads)


# -- real servers ------------------------------------------------------------------------------------------------


def smtp(port: int) -> SmtpTransport:
    return SmtpTransport(
        SmtpSettings("127.0.0.1", port, tls="never", pool_size=1, local_hostname="x.example")
    )


async def _over(
    ports: Sequence[int], batch: Sequence[Letter], kind: type[FailoverTransport]
) -> list[Report]:
    road = kind({str(n): smtp(port) for n, port in enumerate(ports)}, rests=Rests())
    try:
        return [await road.deliver(one, one.envelope_to, Cleared()) for one in batch]
    finally:
        await road.aclose()


def deliver(
    ports: Sequence[int], *batch: Letter, kind: type[FailoverTransport] = FailoverTransport
) -> list[Report]:
    """One after the other, over servers at these ports."""
    return run(_over(ports, batch, kind))


@on_each_loop
@pytest.mark.parametrize(
    ("step", "act"),
    [
        ("GREETING", DROP),
        ("GREETING", "554 5.7.1 Your address is blocked"),
        ("EHLO", DROP),
        ("EHLO", RESET),
        ("MAIL", ("421 4.3.2 Going down", DROP)),
        ("MAIL", "530 5.7.0 Log in first"),
        ("MAIL", (HALF, DROP)),
        ("RCPT", DROP),
        ("RCPT", ("421 4.3.2 Going down", DROP)),
        ("DATA", DROP),
        ("DATA", ("421 4.3.2 Going down", DROP)),
        ("MIDDLE", DROP),
        ("MIDDLE", RESET),
    ],
    ids=str,
)
def test_wherever_the_first_server_fails_before_the_dot_the_second_gets_the_mail_once(
    step: str, act: Item
) -> None:
    with ScriptedServer(script={step: act}) as first, ScriptedServer() as second:
        (report,) = deliver([first.port, second.port], LARGE if step == "MIDDLE" else letter())
    assert (report.all_accepted, report.transport) == (True, "1")
    assert (first.messages, len(second.messages)) == ([], 1)


@on_each_loop
@pytest.mark.parametrize("act", [DROP, RESET, (HALF, DROP), b"garbage\r\n"], ids=str)
def test_once_the_dot_is_written_no_second_server_gets_the_mail(act: Item) -> None:
    with ScriptedServer(script={"CONTENT": act}) as first, ScriptedServer() as second:
        (report,) = deliver([first.port, second.port], letter())
    assert facts(report) == (Kind.UNKNOWN, Scope.TRANSPORT, Phase.AFTER)
    assert (report.transport, second.messages) == ("0", [])


@pytest.mark.parametrize(
    "reply", ["550 5.7.1 Spam", "451 4.3.0 Not now", ("421 4.3.2 Going down", DROP)], ids=str
)
def test_an_answer_to_the_content_is_the_answer_whatever_it_is(reply: Item) -> None:
    with ScriptedServer(script={"CONTENT": reply}) as first, ScriptedServer() as second:
        (report,) = deliver([first.port, second.port], letter())
    assert only(report).phase is Phase.AFTER
    assert second.messages == []


def test_a_server_that_is_not_there_is_spared_by_the_letters_that_follow() -> None:
    with ScriptedServer() as gone:
        pass
    with ScriptedServer() as second:
        reports = deliver([gone.port, second.port], *letters(5))
    assert [report.transport for report in reports] == ["1"] * 5
    assert len(second.messages) == 5


def test_a_wrong_password_at_one_server_keeps_no_letter_back() -> None:
    async def main(first: int, second: int) -> Report:
        secret = SmtpSettings("127.0.0.1", first, "me", "wrong", tls="never")
        roads = {"a": SmtpTransport(secret), "b": smtp(second)}
        road = FailoverTransport(roads, rests=Rests())
        try:
            return await road.deliver(letter(), letter().envelope_to, Cleared())
        finally:
            await road.aclose()

    with ScriptedServer(accounts={"me": "right"}) as first, ScriptedServer() as second:
        report = run(main(first.port, second.port))
    assert (report.all_accepted, report.transport) == (True, "b")


def test_a_refused_recipient_is_no_second_servers_affair() -> None:
    script: dict[str, Item | list[Item]] = {f"RCPT {TWO[0]}": "550 5.1.1 Nobody"}
    with ScriptedServer(script=script) as first, ScriptedServer() as second:
        (report,) = deliver([first.port, second.port], letter(to=TWO))
    assert [outcome.kind for outcome in report.outcomes.values()] == [Kind.REFUSED, Kind.ACCEPTED]
    assert (len(first.messages), second.messages) == (1, [])


def test_only_those_still_open_go_to_the_second_server() -> None:
    """The first one takes one recipient a transaction, and goes away after the first."""
    script: dict[str, Item | list[Item]] = {
        f"RCPT {TWO[1]}": "452 4.5.3 Too many recipients",
        "MAIL": [None, *[DROP] * 9],
    }
    with ScriptedServer(script=script) as first, ScriptedServer() as second:
        (report,) = deliver([first.port, second.port], letter(to=TWO))
    assert report.all_accepted
    assert [message.recipients for message in first.messages] == [[TWO[0]]]
    assert [message.recipients for message in second.messages] == [[TWO[1]]]
    assert first.contents == second.contents


def test_servers_share_the_mail_and_one_that_goes_down_leaves_it_to_the_others() -> None:
    down: list[Item] = [None, None, *[DROP] * 40]
    servers = [ScriptedServer(script={"MAIL": down}), ScriptedServer(), ScriptedServer()]
    with servers[0], servers[1], servers[2]:
        ports = [server.port for server in servers]
        reports = deliver(ports, *letters(12), kind=RoundRobinTransport)
    assert all(report.all_accepted for report in reports)
    assert [len(server.messages) for server in servers] == [2, 5, 5]
    sent = [content for server in servers for content in server.contents]
    assert sorted(sent) == sorted(one.raw or b"" for one in letters(12))


def test_many_letters_at_once_arrive_once_each_although_the_first_server_fails_at_random() -> None:
    faults: list[Item] = [None, DROP, None, None, DROP, ("421 4.3.2 Bye", DROP), None, DROP] * 4

    async def main(ports: Sequence[int]) -> list[Report]:
        road = FailoverTransport(
            {str(n): smtp(port) for n, port in enumerate(ports)}, rests=Rests()
        )
        try:
            sending = (road.deliver(one, one.envelope_to, Cleared()) for one in letters(20))
            return await asyncio.gather(*sending)
        finally:
            await road.aclose()

    script: dict[str, Item | list[Item]] = dict.fromkeys(("MAIL", "RCPT", "DATA"), faults)
    with ScriptedServer(script=script) as first, ScriptedServer() as second:
        reports = run(main([first.port, second.port]))
    assert all(report.all_accepted for report in reports)
    assert sorted([*first.contents, *second.contents]) == sorted(
        one.raw or b"" for one in letters(20)
    )
