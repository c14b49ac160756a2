"""The relay on a real outbox: it tells of what nobody has told of, alone, and whatever happens to the broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence

import pytest

from delivery.conftest import letter
from flask_outbox.delivery.relay import GROUP, HEAD, Relay
from flask_outbox.delivery.settings import WorkerSettings
from flask_outbox.ledger.results import Finished
from flask_outbox.ledger.store import Store
from flask_outbox.ledger.tasks import TaskLedger
from flask_outbox.mail.letter import Terms
from flask_outbox.rules.outcomes import Kind, Outcome, Report, Scope
from flask_outbox.rules.retry import RetryPolicy, decide

SETTINGS = WorkerSettings(poll=0.01, heartbeat=0.05)


class Broker:
    """Takes what it is told, or nothing."""

    def __init__(self) -> None:
        self.told: list[tuple[int, list[int]]] = []
        self.down = False

    def publish(self, ids: Sequence[str], priority: int) -> None:
        if self.down:
            raise ConnectionError("no broker")
        self.told.append((priority, [int(id, 16) for id in ids]))

    @property
    def numbers(self) -> list[int]:
        return [number for _, numbers in self.told for number in numbers]


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    store = Store(database)
    store.create_schema()
    yield store
    store.dispose()


@pytest.fixture
def make(database: str) -> Iterator[Callable[[Broker], Relay]]:
    """Makes relays that work on that outbox, each with a store of its own."""
    stores: list[Store] = []

    def make(broker: Broker) -> Relay:
        stores.append(Store(database))
        return Relay(stores[-1], broker.publish, SETTINGS, patience=60)

    yield make
    for one in stores:
        one.dispose()


def put(store: Store, *numbers: int, age: float = 0, terms: Terms | None = None) -> None:
    """Store letters as if that many seconds ago."""
    store.add([(letter(number), terms or Terms()) for number in numbers], store.now() - age)


def fail(store: Store, number: int) -> None:
    """Let a letter be tried in vain, and be due again."""
    (claim,) = store.claim("default", 1, 1, now=store.now(), lease=30, letters=[letter(number).id])
    report = Report.of(claim.to, Outcome(Kind.DEFERRED, Scope.RECIPIENT, code=451))
    plan = decide(
        report,
        standing=claim.standing,
        now=store.now() - 40,
        policy=RetryPolicy(),
        rng=lambda: 0.5,
    )
    store.finish([Finished(claim, report, plan, store.now(), store.now())], store.now())


def run(*relays: Relay, until: Callable[[], bool]) -> None:
    """Run relays until something is so, and let them end."""

    async def main() -> None:
        working = [asyncio.create_task(relay.run()) for relay in relays]
        async with asyncio.timeout(20):
            while not until():
                await asyncio.sleep(0.01)
        for relay in relays:
            relay.stop()
        await asyncio.gather(*working)

    asyncio.run(main())


def once(relay: Relay) -> None:
    asyncio.run(relay.once())


def test_it_tells_of_what_is_tried_again_and_of_what_was_lost(
    store: Store, make: Callable[[Broker], Relay]
) -> None:
    put(store, 1)
    put(store, 2, age=50)
    put(store, 3, age=61)
    put(store, 4, terms=Terms(due=store.now() - 1), age=5)
    put(store, 5, terms=Terms(due=store.now() + 60))
    fail(store, 2)
    broker = Broker()
    once(make(broker))
    assert sorted(broker.numbers) == [2, 3, 4]


def test_it_tells_of_urgent_ones_first_and_in_groups(
    store: Store, make: Callable[[Broker], Relay]
) -> None:
    put(store, *range(250), age=61)
    put(store, 999, age=61, terms=Terms(priority=0))
    broker = Broker()
    once(make(broker))
    assert [(priority, len(numbers)) for priority, numbers in broker.told] == [
        (0, 1),
        (1, GROUP),
        (1, GROUP),
        (1, 50),
    ]


def test_it_tells_of_no_more_at_once_than_a_worker_would_soon_send(
    store: Store, make: Callable[[Broker], Relay]
) -> None:
    put(store, *range(HEAD + 10), age=61)
    broker = Broker()
    relay = make(broker)
    looks: list[int] = []
    look = relay._due

    def count() -> list[tuple[int, list[str]]]:
        looks.append(1)
        return look()

    relay._due = count  # type: ignore[method-assign]
    run(relay, until=lambda: len(looks) > 3)
    assert len(broker.numbers) == len(set(broker.numbers)) == HEAD


def test_a_broker_that_is_down_is_told_when_it_is_back(
    store: Store, make: Callable[[Broker], Relay], caplog: pytest.LogCaptureFixture
) -> None:
    put(store, 1, age=61)
    broker = Broker()
    broker.down = True
    relay = make(broker)

    def back() -> bool:
        broker.down = broker.down and not relay._failed
        return bool(broker.told)

    with caplog.at_level(logging.ERROR, "flask_outbox"):
        run(relay, until=back)
    assert broker.numbers == [1]
    assert [record.message for record in caplog.records] == [
        "the broker takes nothing, the mail waits: ConnectionError('no broker')"
    ]


def test_a_paused_transport_is_told_of_when_it_goes_on(
    store: Store, make: Callable[[Broker], Relay]
) -> None:
    put(store, 1, age=61)
    store.pause("default", "by hand", by="person")
    broker = Broker()
    relay = make(broker)
    resumed: list[bool] = []

    def resume() -> bool:
        if relay.draining and not resumed:
            assert broker.told == []
            resumed.append(store.resume("default"))
        return bool(broker.told)

    run(relay, until=resume)
    assert broker.numbers == [1]


def test_of_several_relays_one_tells_and_another_takes_over(
    store: Store, make: Callable[[Broker], Relay]
) -> None:
    first, second = Broker(), Broker()
    one, other = make(first), make(second)

    async def main() -> None:
        working = asyncio.create_task(one.run())
        await until(lambda: one.draining)
        standing_by = asyncio.create_task(other.run())
        await until(lambda: len(TaskLedger(store).relays(0)) == 2)
        put(store, 1, age=61)
        await until(lambda: bool(first.told))
        assert not other.draining
        one.stop()
        await working
        put(store, 2, age=61)
        await until(lambda: len(second.numbers) == 2)
        other.stop()
        await standing_by

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)

    asyncio.run(main())
    assert first.numbers == [1]
    assert sorted(second.numbers) == [1, 2]
    assert TaskLedger(store).relays(0) == []


def test_one_that_was_taken_for_dead_begins_anew(
    store: Store, make: Callable[[Broker], Relay]
) -> None:
    broker = Broker()
    relay = make(broker)

    async def main() -> None:
        await relay.look()
        first = relay._me
        with store.database.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM mail_worker")
        put(store, 1, age=61)
        await relay.look()
        await relay.look()
        assert relay._me != first
        await relay._end()

    asyncio.run(main())
    assert broker.numbers == [1]
