"""Connections: opened when needed, used again, replaced; letters that are withdrawn; the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import ref

import pytest

from flask_outbox.rules.outcomes import Kind, Outcome, Phase, Report, Scope
from flask_outbox.transports.smtp import SmtpSettings, SmtpTransport
from servers.scripted import CAPABILITIES, DROP, HANG, Gate, ScriptedServer

from .sending import Cleared, deliver, facts, letter, letters, only, road_to, send

LOST_BEFORE = (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)
LOST_AFTER = (Kind.UNKNOWN, Scope.TRANSPORT, Phase.AFTER)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def one_after_the_other(server: ScriptedServer, count: int, **settings: object) -> list[Report]:
    async def main() -> list[Report]:
        async with road_to(server.port, **settings) as road:
            return [await send(road, letter(number)) for number in range(1, count + 1)]

    return asyncio.run(main())


# -- how many ----------------------------------------------------------------------------------------------------------


def test_letters_one_after_the_other_share_a_connection() -> None:
    with ScriptedServer() as server:
        reports = one_after_the_other(server, 5, pool_size=4)
    assert all(report.all_accepted for report in reports)
    assert len(server.sessions) == 1


def test_a_connection_that_waits_for_the_next_letter_keeps_none() -> None:
    """Of a large one a connection would keep megabytes, and there are several."""

    async def main(port: int) -> None:
        async with road_to(port) as road:
            sent = letter()
            kept = ref(sent)
            await send(road, sent)
            del sent
            await asyncio.sleep(0)
            assert kept() is None

    with ScriptedServer() as server:
        asyncio.run(main(server.port))
    assert len(server.messages) == 1


def test_letters_at_the_same_time_get_connections_up_to_the_pools_size() -> None:
    with ScriptedServer() as server:
        reports = deliver(server.port, *letters(20), pool_size=2)
    assert all(report.all_accepted for report in reports)
    assert len(server.sessions) == 2
    assert len(server.messages) == 20


def test_two_letters_a_connection_are_worth_handing_over() -> None:
    async def main() -> int:
        async with road_to(25, pool_size=7) as road:
            return road.concurrency

    assert asyncio.run(main()) == 14


def test_a_connection_is_replaced_after_so_many_letters() -> None:
    with ScriptedServer() as server:
        reports = deliver(server.port, *letters(5), max_messages=2)
    assert all(report.all_accepted for report in reports)
    assert [session.commands.count("DATA") for session in server.sessions] == [2, 2, 1]
    assert all(session.commands[-1] == "QUIT" for session in server.sessions)


def test_a_connection_is_replaced_at_its_age() -> None:
    now = 0.0

    async def main(port: int) -> None:
        nonlocal now
        settings = SmtpSettings("127.0.0.1", port, tls="never", pool_size=1, max_age=60)
        road = SmtpTransport(settings, clock=lambda: now)
        await send(road, letter(1))
        now = 59.0
        await send(road, letter(2))
        now = 61.0
        await send(road, letter(3))
        await road.aclose()

    with ScriptedServer() as server:
        asyncio.run(main(server.port))
    assert [session.commands.count("DATA") for session in server.sessions] == [2, 1]


def test_an_idle_connection_takes_leave() -> None:
    async def main(server: ScriptedServer) -> None:
        async with road_to(server.port, idle_timeout=0.02) as road:
            await send(road, letter(1))
            await until(lambda: server.sessions[0].commands[-1] == "QUIT")
            assert (await send(road, letter(2))).all_accepted

    with ScriptedServer() as server:
        asyncio.run(main(server))
    assert len(server.sessions) == 2


# -- connections that were no longer there -----------------------------------------------------------------------------


def test_a_connection_that_the_server_closed_meanwhile_costs_nothing() -> None:
    with ScriptedServer(script={"CONTENT": [("250 2.0.0 Ok", DROP), None]}) as server:
        reports = one_after_the_other(server, 2)
    assert all(report.all_accepted for report in reports)
    assert len(server.sessions) == 2


@pytest.mark.parametrize("ending", [DROP, ("421 4.4.2 Timeout", DROP)])
@pytest.mark.parametrize("capabilities", [CAPABILITIES, ["SIZE"]], ids=["pipelining", "lockstep"])
def test_a_used_connection_that_dies_at_the_next_envelope_is_replaced(
    capabilities: list[str], ending: object
) -> None:
    with ScriptedServer(capabilities, script={"MAIL": [None, ending, None]}) as server:
        reports = one_after_the_other(server, 2)
    assert all(report.all_accepted for report in reports)
    assert [session.commands.count("DATA") for session in server.sessions] in ([2, 1], [1, 1])


def test_there_is_one_second_chance() -> None:
    with ScriptedServer(script={"MAIL": [None, DROP, DROP, None]}) as server:
        reports = one_after_the_other(server, 2)
    assert facts(reports[1]) == LOST_BEFORE
    assert len(server.sessions) == 2


def test_there_is_none_after_a_reply() -> None:
    with ScriptedServer(script={"RCPT": [None, DROP, None]}) as server:
        reports = one_after_the_other(server, 2)
    assert facts(reports[1]) == LOST_BEFORE
    assert len(server.sessions) == 1


def test_a_second_chance_is_only_for_what_is_still_wanted() -> None:
    gate = Gate()

    async def main(port: int) -> Report:
        async with road_to(port) as road:
            clearance = Cleared()
            sending = [asyncio.create_task(send(road, letter(1)))]
            await gate.reached()
            sending.append(asyncio.create_task(send(road, letter(2), clearance)))
            await until(lambda: clearance.asked == ["valid"])
            clearance.is_valid = False
            gate.open()
            return (await asyncio.gather(*sending))[1]

    with ScriptedServer(script={"CONTENT": [(gate, DROP), None]}) as server:
        assert asyncio.run(main(server.port)) == Report()
    assert server.messages == []


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [(DROP, LOST_AFTER), (("421 4.3.2 Bye", DROP), (Kind.DEFERRED, Scope.TRANSPORT, Phase.AFTER))],
)
def test_a_letter_sent_ahead_is_unharmed_by_the_end_of_the_one_before(
    verdict: object, expected: tuple[Kind, Scope, Phase]
) -> None:
    with ScriptedServer(script={"CONTENT": [verdict, None]}) as server:
        first, second = deliver(server.port, *letters(2))
    assert facts(first) == expected
    assert second.all_accepted
    assert server.contents == [b"Subject: 2\r\n\r\nBody\r\n"]


def test_letters_that_wait_survive_the_end_of_a_connection() -> None:
    with ScriptedServer(script={"CONTENT": [DROP, None]}) as server:
        first, *others = deliver(server.port, *letters(6))
    assert facts(first) == LOST_AFTER
    assert all(report.all_accepted for report in others)


# -- connections that cannot be opened ---------------------------------------------------------------------------------


def test_where_no_connection_opens_all_that_wait_learn_why() -> None:
    with ScriptedServer(script={"GREETING": "554 5.7.1 Go away"}) as server:
        reports = deliver(server.port, *letters(8), pool_size=2)
    assert {only(report).code for report in reports} == {554}
    assert len(server.sessions) == 2


@pytest.mark.parametrize("ending", [(DROP,), ("421 4.3.2 Bye", DROP)])
def test_a_server_that_closes_right_after_its_greeting_is_not_asked_for_ever(
    ending: tuple[str, ...],
) -> None:
    with ScriptedServer(script={"EHLO": ("250 scripted.example", *ending)}) as server:
        reports = deliver(server.port, *letters(3))
    assert [facts(report) for report in reports] == [LOST_BEFORE] * 3
    assert len(server.sessions) <= 3


def test_where_one_connection_is_all_a_server_allows_the_others_letters_go_over_it() -> None:
    gate = Gate()

    async def main(server: ScriptedServer) -> list[Report]:
        async with road_to(server.port, pool_size=2) as road:
            first = asyncio.create_task(send(road, letter(1)))
            await gate.reached()
            others = [asyncio.create_task(send(road, a_letter)) for a_letter in letters(5)]
            await until(lambda: len(server.sessions) == 2)
            await until(lambda: server.sessions[1].trips == [["GREETING"]])
            gate.open()
            return list(await asyncio.gather(first, *others))

    script = {
        "GREETING": [None, ("421 4.7.0 Too many connections", DROP), None],
        "CONTENT": [(gate, "250 2.0.0 Ok"), None],
    }
    with ScriptedServer(script=script) as server:
        reports = asyncio.run(main(server))
    assert all(report.all_accepted for report in reports)
    assert len(server.sessions) == 2


# -- clearance ---------------------------------------------------------------------------------------------------------


def test_a_letter_that_is_no_longer_valid_is_not_begun() -> None:
    async def main(port: int) -> Report:
        async with road_to(port) as road:
            return await send(road, letter(), Cleared(valid=False))

    with ScriptedServer() as server:
        assert asyncio.run(main(server.port)) == Report()
    assert "DATA" not in server.sessions[0].commands


def test_a_letter_that_is_no_longer_valid_is_not_sent_ahead() -> None:
    async def main(port: int) -> list[Report]:
        async with road_to(port) as road:
            clearances = [Cleared(), Cleared(valid=False), Cleared()]
            sending = [send(road, *pair) for pair in zip(letters(3), clearances, strict=True)]
            return await asyncio.gather(*sending)

    with ScriptedServer() as server:
        first, second, third = asyncio.run(main(server.port))
    assert (first.all_accepted, second, third.all_accepted) == (True, Report(), True)
    assert server.sessions[0].commands.count("DATA") == 2


@pytest.mark.parametrize("capabilities", [CAPABILITIES, ["SIZE"]], ids=["pipelining", "lockstep"])
def test_a_letter_withdrawn_after_354_ends_its_connection_and_nothing_else(
    capabilities: list[str],
) -> None:
    async def main(port: int) -> list[Report]:
        async with road_to(port) as road:
            clearances = [Cleared(content=False), Cleared(), Cleared()]
            sending = [send(road, *pair) for pair in zip(letters(3), clearances, strict=True)]
            return await asyncio.gather(*sending)

    with ScriptedServer(capabilities) as server:
        first, *others = asyncio.run(main(server.port))
    assert first == Report()
    assert all(report.all_accepted for report in others)
    assert len(server.messages) == 2
    assert server.sessions[0].commands[-1] == "DATA"


def test_while_the_clearance_waits_nothing_is_lost() -> None:
    async def main(port: int) -> list[Report]:
        async with road_to(port) as road:
            held = Cleared()
            held.may_answer.clear()
            first = asyncio.create_task(send(road, letter(1), held))
            others = [asyncio.create_task(send(road, letter(n))) for n in (2, 3)]
            await held.content_asked.wait()
            held.may_answer.set()
            return list(await asyncio.gather(first, *others))

    with ScriptedServer() as server:
        reports = asyncio.run(main(server.port))
    assert all(report.all_accepted for report in reports)
    assert len(server.sessions) == 1


def test_a_connection_lost_while_the_clearance_waits_is_lost_before_the_content() -> None:
    gate = Gate()

    async def main(port: int) -> Report:
        async with road_to(port) as road:
            held = Cleared()
            held.may_answer.clear()
            sending = asyncio.create_task(send(road, letter(), held))
            await held.content_asked.wait()
            gate.open()
            (connection,) = road._connections
            await until(lambda: connection._wire.broken is not None)
            held.may_answer.set()
            return await sending

    with ScriptedServer(script={"DATA": ("354 Go on", gate, DROP)}) as server:
        assert facts(asyncio.run(main(server.port))) == LOST_BEFORE


def test_a_sender_who_gave_up_is_not_served() -> None:
    async def main(port: int) -> None:
        async with road_to(port) as road:
            held = Cleared()
            held.may_answer.clear()
            sending = asyncio.create_task(send(road, letter(1), held))
            await held.content_asked.wait()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            held.may_answer.set()
            assert (await send(road, letter(2))).all_accepted

    with ScriptedServer() as server:
        asyncio.run(main(server.port))
    assert server.contents == [b"Subject: 2\r\n\r\nBody\r\n"]


def test_an_error_in_the_clearance_is_its_owners() -> None:
    class Faulty(Cleared):
        async def content(self) -> bool:
            raise LookupError("where is it?")

    async def main(port: int) -> None:
        async with road_to(port) as road:
            with pytest.raises(LookupError):
                await send(road, letter(1), Faulty())
            assert (await send(road, letter(2))).all_accepted

    with ScriptedServer() as server:
        asyncio.run(main(server.port))


# -- the end -----------------------------------------------------------------------------------------------------------


def test_closing_finishes_what_is_in_flight_and_tries_nothing_more() -> None:
    gate = Gate()

    async def main(port: int) -> list[Report]:
        async with road_to(port) as road:
            first = asyncio.create_task(send(road, letter(1)))
            await gate.reached()
            second, third = (asyncio.create_task(send(road, letter(n))) for n in (2, 3))
            await asyncio.sleep(0)
            closing = asyncio.create_task(road.aclose())
            await asyncio.sleep(0)
            gate.open()
            await closing
            return [await first, await second, await third, await send(road, letter(4))]

    with ScriptedServer(script={"CONTENT": [(gate, "250 2.0.0 Ok"), None]}) as server:
        first, second, third, fourth = asyncio.run(main(server.port))
    assert first.all_accepted
    assert second.all_accepted  # its envelope was on its way
    assert (third, fourth) == (Report(), Report())
    assert len(server.messages) == 2


def test_closing_does_not_wait_for_a_connection_that_is_being_opened() -> None:
    async def main(server: ScriptedServer) -> Report:
        async with road_to(server.port) as road:
            sending = asyncio.create_task(send(road, letter()))
            await until(lambda: bool(server.sessions))
            await road.aclose()
            return await sending

    with ScriptedServer(script={"GREETING": HANG}) as server:
        assert asyncio.run(main(server)) == Report()


def test_an_error_at_quit_is_nobodys() -> None:
    for ending in (DROP, "500 5.5.1 What?", b"\0\n", ("421 Bye", DROP)):
        with ScriptedServer(script={"QUIT": ending}) as server:
            (report,) = deliver(server.port, letter())
        assert report.all_accepted


def test_nothing_of_a_letter_is_kept_when_it_is_done() -> None:
    async def main(port: int) -> None:
        async with road_to(port) as road:
            await send(road, letter())
            (connection,) = road._connections
            await until(lambda: connection._job is None)
            assert not list(road._queue.empty())

    with ScriptedServer() as server:
        asyncio.run(main(server.port))


def test_a_report_is_one_outcome_for_all_where_nothing_else_is_known() -> None:
    outcome = Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="down")
    assert Report.of(("a", "b"), outcome).outcomes == {"a": outcome, "b": outcome}
