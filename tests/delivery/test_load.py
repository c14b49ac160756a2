"""How much a worker has in hand: room for urgent letters, and a budget of bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from weakref import ref

from delivery.conftest import Answer, Road, accept, letter, put
from flask_outbox.delivery.courier import Courier
from flask_outbox.delivery.settings import WorkerSettings
from flask_outbox.delivery.worker import Worker
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Letter, Part, Terms
from flask_outbox.rules.outcomes import Report
from flask_outbox.rules.retry import RetryPolicy
from flask_outbox.transports.base import Clearance, Transport
from flask_outbox.transports.smtp import SmtpSettings, SmtpTransport
from servers.scripted import ScriptedServer
from transports.test_smtp_pool import until

HIGH, LOW = Terms(priority=0), Terms(priority=2)


def a_worker(store: Store, road: Transport, **settings: object) -> Worker:
    settings = {"poll": 0.02, "drain_timeout": 5, **settings}
    courier = Courier(lambda: {"default": road})
    return Worker(store, courier, WorkerSettings(**settings), policy=RetryPolicy())  # type: ignore[arg-type]


def held(gate: asyncio.Event) -> Answer:
    """A server that takes urgent letters at once, and the others when the gate opens."""

    async def answer(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        if not clearance.urgent:
            await gate.wait()
        return await accept(letter, to, clearance)

    return answer


def sent(store: Store) -> int:
    return Reports(store).status(time.time()).counts.get("sent", 0)


# -- urgent letters ------------------------------------------------------------------------------------------------


def test_an_urgent_letter_is_sent_while_bulk_fills_the_rest(store: Store) -> None:
    put(store, *(letter(number) for number in range(40)), terms=LOW)

    async def main() -> list[str]:
        gate = asyncio.Event()
        road = Road(held(gate), concurrency=6, kept=2)
        worker = a_worker(store, road)
        working = asyncio.create_task(worker.run())
        await until(lambda: road.in_hand == 4)
        put(store, letter(98), terms=HIGH)
        await until(lambda: sent(store) == 1)
        put(store, letter(99), terms=HIGH)
        await until(lambda: sent(store) == 2)
        carried = [id for id, _ in road.carried]
        gate.set()
        worker.finish()
        await working
        return carried

    carried = asyncio.run(main())
    assert carried == [letter(number).id for number in (0, 1, 2, 3, 98, 99)]
    assert sent(store) == 42


def test_bulk_is_not_kept_back_by_urgent_letters_for_ever(store: Store) -> None:
    put(store, *(letter(number) for number in range(300)), terms=HIGH)
    put(store, *(letter(number) for number in range(300, 310)), terms=LOW)
    road = Road(concurrency=4, kept=2)

    async def main() -> None:
        worker = a_worker(store, road)
        worker.finish()
        await worker.run()

    asyncio.run(main())
    bulk = {letter(number).id for number in range(300, 310)}
    assert bulk & {id for id, _ in road.carried[:150]}
    assert len(road.carried) == 310


# -- bytes -----------------------------------------------------------------------------------------------------------


class Weighing(Transport):
    """Another transport, and how many bytes the worker has in hand each time that it hands over a letter."""

    def __init__(self, road: Transport) -> None:
        self._road = road
        self.concurrency = road.concurrency
        self.connections = road.connections
        self.worker: Worker | None = None
        self.weighed: list[int] = []
        #: How many letters that were handed over are in memory then, and how many of them in the hands of the worker.
        self.living: list[tuple[int, int]] = []
        self._seen: list[ref[Letter]] = []

    async def deliver(self, letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        assert self.worker is not None
        in_hand = self.worker._hand.carriages.values()
        self.weighed.append(sum(carriage.claim.letter.size for carriage in in_hand))
        self._seen.append(ref(letter))
        self.living.append((sum(one() is not None for one in self._seen), len(in_hand)))
        return await self._road.deliver(letter, to, clearance)

    async def aclose(self) -> None:
        await self._road.aclose()


def weigh(store: Store, make: Callable[[], Transport], max_bytes: int) -> list[int]:
    """Drain; the bytes in hand as they were at each letter."""

    async def main() -> list[int]:
        weighing = Weighing(make())
        weighing.worker = worker = a_worker(store, weighing, max_bytes=max_bytes)
        worker.finish()
        await worker.run()
        await weighing.aclose()
        return weighing.weighed

    return asyncio.run(main())


def sized(number: int, size: int) -> Letter:
    return replace(letter(number), text=None, raw=b"x" * size)


def test_what_is_in_hand_fits_into_the_budget(store: Store) -> None:
    put(store, *(sized(number, 1_000) for number in range(20)))
    weighed = weigh(store, lambda: Road(concurrency=16), max_bytes=3_500)
    assert max(weighed) == 3_000
    assert len(weighed) == 20
    assert sent(store) == 20


def test_a_letter_that_is_larger_than_the_budget_goes_alone(store: Store) -> None:
    put(store, sized(1, 1_000), sized(2, 9_000), sized(3, 1_000))
    weighed = weigh(store, Road, max_bytes=3_500)
    assert weighed == [1_000, 9_000, 1_000]


def test_large_letters_are_not_overtaken_for_ever_by_small_ones(store: Store) -> None:
    put(store, sized(1, 3_000), sized(2, 3_000), terms=Terms(priority=1))
    put(store, *(sized(number, 100) for number in range(10, 60)), terms=LOW)
    road = Road(concurrency=4)
    weigh(store, lambda: road, max_bytes=4_000)
    order = [id for id, _ in road.carried]
    assert order.index(sized(2, 1).id) < 15


def test_of_ten_letters_of_25_mb_no_more_are_in_hand_than_the_budget_allows(store: Store) -> None:
    for number in range(10):
        put(store, sized(number, 25_000_000))
    weighed = weigh(store, lambda: Road(concurrency=16), max_bytes=64_000_000)
    assert max(weighed) == 50_000_000
    assert sent(store) == 10


def test_letters_of_25_mb_arrive_and_two_of_them_are_in_hand_at_a_time(store: Store) -> None:
    attached = Part("video.bin", "application/octet-stream", b"0123456789abcdef" * 1_140_000)
    put(store, *(replace(letter(number), attachments=(attached,)) for number in range(4)))
    with ScriptedServer() as server:
        settings = SmtpSettings("127.0.0.1", server.port, tls="never", pool_size=4)
        weighed = weigh(store, lambda: SmtpTransport(settings), max_bytes=64_000_000)
    size = replace(letter(0), attachments=(attached,)).size
    assert 24_900_000 < size < 25_100_000
    assert max(weighed) == 2 * size
    assert len(server.messages) == 4
    assert all(len(content) > 24_000_000 for content in server.contents)


def test_a_letter_whose_result_is_recorded_is_in_memory_no_longer(store: Store) -> None:
    put(store, *(sized(number, 1_000) for number in range(12)))
    with ScriptedServer() as server:
        settings = SmtpSettings("127.0.0.1", server.port, tls="never", pool_size=4)

        async def main() -> list[tuple[int, int]]:
            weighing = Weighing(SmtpTransport(settings))
            weighing.worker = worker = a_worker(store, weighing, max_bytes=2_500)
            worker.finish()
            await worker.run()
            left = sum(one() is not None for one in weighing._seen)
            await weighing.aclose()
            return [*weighing.living, (left, 0)]

        living = asyncio.run(main())
    assert len(living) == 13
    assert all(alive <= in_hand <= 2 for alive, in_hand in living)
