"""The worker of a task queue carries what tasks ask for, and nothing else."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from delivery.conftest import Road, letter, put
from flask_outbox.delivery import asked as asking
from flask_outbox.delivery.asked import LEFT, UNKNOWN, Asked
from flask_outbox.delivery.settings import WorkerSettings
from flask_outbox.delivery.worker import Worker
from flask_outbox.errors import OutboxError
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Letter, Terms
from flask_outbox.rules.outcomes import Kind, Outcome, Report, Scope
from flask_outbox.rules.retry import RetryPolicy
from flask_outbox.transports.base import Clearance

SETTINGS = WorkerSettings(poll=0.05, drain_timeout=5)


def run(store: Store, road: Road, act: Callable[[Asked, Worker], Awaitable[None]]) -> None:
    """Do something beside a worker that is told what to carry."""

    async def main() -> None:
        asked = Asked()
        worker = Worker(store, road.courier(), SETTINGS, policy=RetryPolicy(), asked=asked)
        working = asyncio.create_task(worker.run())
        try:
            await act(asked, worker)
        finally:
            worker.stop()
            await asyncio.wait_for(working, 20)

    asyncio.run(main())


def ask(asked: Asked, *numbers: int) -> asyncio.Future[object]:
    return asyncio.wrap_future(asked.ask([letter(number).id for number in numbers]))


def state_of(store: Store, number: int) -> str:
    view = Reports(store).get(letter(number).id)
    assert view is not None
    return view.state


def test_what_is_asked_for_is_carried_and_the_rest_is_left(store: Store) -> None:
    put(store, letter(1), letter(2), letter(3))
    road = Road()

    async def act(asked: Asked, worker: Worker) -> None:
        assert await ask(asked, 1, 3) == {letter(1).id: "sent", letter(3).id: "sent"}

    run(store, road, act)
    assert sorted(id for id, _ in road.carried) == [letter(1).id, letter(3).id]
    assert state_of(store, 2) == "queued"


def test_tasks_that_come_together_share_a_claim(store: Store) -> None:
    put(store, *map(letter, range(20)))
    road = Road(concurrency=20)
    claims: list[int] = []
    claim = store.claim

    def count(*args: object, **kwargs: object) -> object:
        claims.append(1)
        return claim(*args, **kwargs)  # type: ignore[arg-type]

    store.claim = count  # type: ignore[method-assign, assignment]

    async def act(asked: Asked, worker: Worker) -> None:
        await asyncio.gather(*(ask(asked, number) for number in range(20)))

    run(store, road, act)
    assert len(road.carried) == 20
    assert len(claims) <= 2


def test_a_task_for_more_than_there_is_room_for_waits_for_all(store: Store) -> None:
    put(store, *map(letter, range(50)))
    road = Road(concurrency=3)

    async def act(asked: Asked, worker: Worker) -> None:
        told = await ask(asked, *range(50))
        assert told == {letter(number).id: "sent" for number in range(50)}

    run(store, road, act)
    assert road.most_in_hand <= 3


def test_a_task_that_comes_again_finds_it_sent(store: Store) -> None:
    put(store, letter(1))
    road = Road()

    async def act(asked: Asked, worker: Worker) -> None:
        await ask(asked, 1)
        assert await ask(asked, 1) == {letter(1).id: "sent"}

    run(store, road, act)
    assert len(road.carried) == 1


def test_what_is_not_there_or_not_due_is_told_at_once(store: Store) -> None:
    put(store, letter(1), terms=Terms(due=time.time() + 3600))
    road = Road()

    async def act(asked: Asked, worker: Worker) -> None:
        assert await ask(asked, 1, 2) == {letter(1).id: "queued", letter(2).id: UNKNOWN}
        assert await ask(asked) == {}

    run(store, road, act)
    assert road.carried == []


def test_what_failed_is_left_in_the_queue(store: Store) -> None:
    put(store, letter(1))

    async def defer(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        return Report.of(to, Outcome(Kind.DEFERRED, Scope.RECIPIENT, code=451))

    async def act(asked: Asked, worker: Worker) -> None:
        assert await ask(asked, 1) == {letter(1).id: "queued"}

    run(store, Road(defer), act)
    assert state_of(store, 1) == "retrying"


def test_what_has_expired_ends(store: Store) -> None:
    put(store, letter(1), terms=Terms(expires=time.time() - 1))

    async def act(asked: Asked, worker: Worker) -> None:
        assert await ask(asked, 1) == {letter(1).id: "dead"}

    run(store, Road(), act)


def test_a_paused_transport_keeps_it_and_the_task_ends(store: Store) -> None:
    put(store, letter(1))
    store.pause("default", "by hand", by="person")
    road = Road()

    async def act(asked: Asked, worker: Worker) -> None:
        assert await ask(asked, 1) == {letter(1).id: "queued"}

    run(store, road, act)
    assert road.carried == []


def test_what_another_process_is_sending_is_not_waited_for(store: Store) -> None:
    put(store, letter(1))
    other = Store(store.database._url.render_as_string(hide_password=False))
    other.register_worker(time.time())
    assert len(other.claim("default", 1, 1, now=time.time(), lease=30)) == 1
    road = Road()

    async def act(asked: Asked, worker: Worker) -> None:
        assert await ask(asked, 1) == {letter(1).id: "sending"}

    run(store, road, act)
    other.dispose()
    assert road.carried == []


def test_what_a_killed_process_was_sending_is_carried_at_once(store: Store) -> None:
    put(store, letter(1))
    pid = os.fork()
    if pid == 0:
        other = Store(store.database._url.render_as_string(hide_password=False))
        other.register_worker(time.time())
        other.claim("default", 1, 1, now=time.time(), lease=30)
        os._exit(0)
    os.waitpid(pid, 0)
    assert state_of(store, 1) == "sending"
    road = Road()

    async def act(asked: Asked, worker: Worker) -> None:
        assert await ask(asked, 1) == {letter(1).id: "sent"}

    run(store, road, act)
    assert len(road.carried) == 1


def test_an_outbox_that_cannot_be_used_is_not_waited_for_long(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, letter(1))
    monkeypatch.setattr(asking, "PATIENCE", 0.1)
    claim = store.claim

    def refuse(*args: object, **kwargs: object) -> object:
        raise OutboxError("refused")

    store.claim = refuse  # type: ignore[method-assign, assignment]

    async def act(asked: Asked, worker: Worker) -> None:
        with pytest.raises(OutboxError, match="refused"):
            await ask(asked, 1)
        store.claim = claim  # type: ignore[method-assign]
        assert await ask(asked, 1) == {letter(1).id: "sent"}

    run(store, Road(), act)


def test_a_task_is_told_when_the_worker_ends(store: Store) -> None:
    put(store, letter(1), letter(2))
    stuck = asyncio.Event()

    async def hang(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        stuck.set()
        await asyncio.sleep(3600)
        raise AssertionError

    async def main() -> None:
        asked = Asked()
        settings = replace(SETTINGS, drain_timeout=0.01)
        road = Road(hang, concurrency=1)
        worker = Worker(store, road.courier(), settings, policy=RetryPolicy(), asked=asked)
        working = asyncio.create_task(worker.run())
        told = ask(asked, 1, 2)
        await stuck.wait()
        worker.stop()
        assert await asyncio.wait_for(told, 20) == {letter(1).id: LEFT, letter(2).id: LEFT}
        await working
        assert await ask(asked, 1) == {letter(1).id: LEFT}

    asyncio.run(main())
    assert (state_of(store, 1), state_of(store, 2)) == ("queued", "queued")
