"""Looking at a worker."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import cast

import pytest

from flask_outbox.delivery.worker import Worker
from flask_outbox.errors import OutboxError
from flask_outbox.ledger.reports import Brief
from flask_outbox.telemetry.health import DRAINING, ENDING, STANDING_BY, Health
from flask_outbox.telemetry.rounds import Examiner, rounds

BRIEF = Brief(5.0, {"default": "by hand"})


def worker(*, draining: bool = True, ending: bool = False) -> Worker:
    """What is looked at of one."""
    seen = SimpleNamespace(draining=draining, ending=ending, last_tick=time.monotonic())
    return cast(Worker, seen)


async def look(one: Worker) -> Health:
    return await Examiner(one, lambda now: BRIEF).look()


@pytest.mark.parametrize(
    ("one", "state"),
    [
        (worker(), DRAINING),
        (worker(draining=False), STANDING_BY),
        (worker(ending=True), ENDING),
    ],
)
def test_the_state_is_the_workers(one: Worker, state: str) -> None:
    assert asyncio.run(look(one)).state == state


def test_what_is_due_and_paused_is_the_ledgers() -> None:
    health = asyncio.run(look(worker()))
    assert (health.oldest_due, health.paused, health.ledger) == (5.0, {"default": "by hand"}, "")


def test_a_ledger_that_cannot_be_read_is_a_finding() -> None:
    def read(now: float) -> Brief:
        raise OutboxError("disk gone")

    assert asyncio.run(Examiner(worker(), read).look()).ledger == "disk gone"


def test_many_who_ask_at_once_are_one_question_to_the_ledger() -> None:
    asked = []

    def read(now: float) -> Brief:
        asked.append(now)
        return BRIEF

    async def go() -> None:
        examiner = Examiner(worker(), read)
        await asyncio.gather(*(examiner.look() for _ in range(10)))

    asyncio.run(go())
    assert len(asked) == 1


def test_a_change_is_looked_at_without_waiting_for_the_next_round() -> None:
    states: list[str] = []

    async def go() -> None:
        one, changed, seen = worker(), asyncio.Event(), asyncio.Event()

        def see(health: Health) -> None:
            states.append(health.state)
            seen.set()

        examiner = Examiner(one, lambda now: BRIEF)
        going = asyncio.create_task(rounds(examiner.examine, [see], changed, 3_600.0))
        for one.draining in (True, False):
            seen.clear()
            changed.set()
            await asyncio.wait_for(seen.wait(), 20)
        going.cancel()

    asyncio.run(go())
    assert states == [DRAINING, STANDING_BY]


def test_each_look_is_shown_to_everyone() -> None:
    seen: list[tuple[str, Health]] = []

    async def go() -> None:
        done = asyncio.Event()

        def second(health: Health) -> None:
            seen.append(("second", health))
            if len(seen) >= 4:
                done.set()

        examiner = Examiner(worker(), lambda now: BRIEF)
        sinks = [lambda health: seen.append(("first", health)), second]
        changed = asyncio.Event()
        changed.set()
        going = asyncio.create_task(rounds(examiner.examine, sinks, changed, 0.0))
        await done.wait()
        going.cancel()

    asyncio.run(go())
    assert [name for name, _ in seen[:4]] == ["first", "second", "first", "second"]
