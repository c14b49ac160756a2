"""Urgent letters while bulk keeps the pool busy, as the server sees it."""

from __future__ import annotations

import asyncio

import pytest

from flask_outbox.rules.outcomes import Report
from flask_outbox.transports.smtp import SmtpTransport
from servers.scripted import DROP, Gate, ScriptedServer

from .sending import Cleared, letter, letters, road_to, send
from .test_smtp_pool import until


def urgent(road: SmtpTransport, number: int) -> asyncio.Task[Report]:
    return asyncio.create_task(send(road, letter(number), Cleared(urgent=True)))


def bulk(road: SmtpTransport, count: int) -> list[asyncio.Task[Report]]:
    return [asyncio.create_task(send(road, one)) for one in letters(count)]


def arrived(server: ScriptedServer) -> list[int]:
    """The numbers of the letters that the server has taken, in its order."""
    return [int(content.split()[1]) for content in server.contents]


@pytest.mark.parametrize("size", [3, 4, 10])
def test_an_urgent_letter_waits_for_no_bulk(size: int) -> None:
    gate = Gate()

    async def main(server: ScriptedServer) -> None:
        async with road_to(server.port, pool_size=size) as road:
            sending = bulk(road, 5 * size)
            await until(lambda: sum("DATA" in one.commands for one in server.sessions) == size - 1)
            assert (await urgent(road, 99)).all_accepted
            assert arrived(server) == [99]
            gate.open()
            assert all(report.all_accepted for report in await asyncio.gather(*sending))

    held = [(gate, "250 2.0.0 Ok")] * (size - 1)
    with ScriptedServer(script={"CONTENT": [*held, None]}) as server:
        asyncio.run(main(server))
    assert len(server.sessions) == size
    assert len(server.messages) == 5 * size + 1


def test_a_second_urgent_letter_goes_behind_the_first_and_behind_no_bulk() -> None:
    held, gate = Gate(), Gate()

    async def main(server: ScriptedServer) -> None:
        async with road_to(server.port, pool_size=3) as road:
            sending = bulk(road, 9)
            await until(lambda: sum("DATA" in one.commands for one in server.sessions) == 2)
            first, second = urgent(road, 98), Cleared(urgent=True)
            await gate.reached()
            following = asyncio.create_task(send(road, letter(99), second))
            await asyncio.sleep(0)
            assert second.asked == ["valid"]
            gate.open()
            await asyncio.gather(first, following)
            assert arrived(server) == [98, 99]
            held.open()
            await asyncio.gather(*sending)

    content = [*[(held, "250 2.0.0 Ok")] * 2, (gate, "250 2.0.0 Ok"), None]
    with ScriptedServer(script={"CONTENT": content}) as server:
        asyncio.run(main(server))
    assert len(server.sessions) == 3


@pytest.mark.parametrize("size", [1, 2])
def test_in_a_small_pool_an_urgent_letter_is_the_next_to_be_begun(size: int) -> None:
    gate = Gate()

    async def main(server: ScriptedServer) -> None:
        async with road_to(server.port, pool_size=size) as road:
            sending = bulk(road, 6 * size)
            # A content under way on each connection, and the next envelope behind it.
            await until(
                lambda: [one.commands.count("DATA") for one in server.sessions] == [1] * size
            )
            sending += [urgent(road, 99)]
            await asyncio.sleep(0)
            gate.open()
            await asyncio.gather(*sending)

    with ScriptedServer(script={"CONTENT": [*[(gate, "250 2.0.0 Ok")] * size, None]}) as server:
        asyncio.run(main(server))
    assert arrived(server).index(99) <= 2 * size


def test_where_the_server_allows_no_further_connection_the_first_free_one_takes_it() -> None:
    gates = [Gate(), Gate()]

    async def main(server: ScriptedServer) -> None:
        async with road_to(server.port, pool_size=3) as road:
            sending = bulk(road, 9)
            await until(lambda: sum("DATA" in one.commands for one in server.sessions) == 2)
            sending += [urgent(road, 99)]
            await until(lambda: len(server.sessions) == 3)
            await until(lambda: server.sessions[2].trips == [["GREETING"]])
            await until(lambda: len(road._connections) == 2)
            gates[0].open()
            await until(lambda: 99 in arrived(server))
            gates[1].open()
            await asyncio.gather(*sending)

    script = {
        "GREETING": [None, None, ("421 4.7.0 Too many connections", DROP), None],
        "CONTENT": [*[(gate, "250 2.0.0 Ok") for gate in gates], None],
    }
    with ScriptedServer(script=script) as server:
        asyncio.run(main(server))
    # Behind the one that was under way, and maybe one whose envelope was sent behind that.
    assert arrived(server).index(99) <= 2


def test_bulk_that_waits_goes_to_the_kept_connection_when_another_ends() -> None:
    dying, held = Gate(), Gate()

    async def main(server: ScriptedServer) -> None:
        async with road_to(server.port, pool_size=3, pipelining=False) as road:
            sending = bulk(road, 4)
            await dying.reached()
            await held.reached()
            assert (await urgent(road, 99)).all_accepted
            await until(lambda: len(road._idle) == 1)
            dying.open()
            await until(lambda: len(server.messages) == 3)
            held.open()
            await asyncio.gather(*sending)

    with ScriptedServer(
        script={"CONTENT": [(dying, DROP), (held, "250 2.0.0 Ok"), None]}
    ) as server:
        asyncio.run(main(server))
    assert len(server.sessions) == 3


def test_no_more_than_one_letter_waits_behind_the_one_under_way() -> None:
    gate = Gate()

    async def main(server: ScriptedServer) -> list[list[str]]:
        async with road_to(server.port) as road:
            clearances = [Cleared() for _ in range(3)]
            sending = [
                asyncio.create_task(send(road, *pair))
                for pair in zip(letters(3), clearances, strict=True)
            ]
            await gate.reached()
            asked = [list(clearance.asked) for clearance in clearances]
            gate.open()
            await asyncio.gather(*sending)
            return asked

    with ScriptedServer(script={"CONTENT": [(gate, "250 2.0.0 Ok"), None]}) as server:
        assert asyncio.run(main(server)) == [["valid", "content"], ["valid"], []]
