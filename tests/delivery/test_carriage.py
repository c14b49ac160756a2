"""What a worker answers a transport that asks whether a letter may still go."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple, cast

import pytest

from flask_outbox.delivery.carriage import MARGIN, Carriage
from flask_outbox.delivery.recorder import Recorder
from flask_outbox.ledger.clock import boot_clock
from flask_outbox.ledger.store import Claim
from flask_outbox.rules.retry import AT_MOST_ONCE


class Door:
    """As much of a recorder as counts here: notes what may leave."""

    def __init__(self) -> None:
        self.exposed: set[int] = set()

    async def expose(self, delivery_id: int, connections: int) -> None:
        self.exposed.add(delivery_id)

    def cover(self, delivery_id: int) -> None:
        self.exposed.discard(delivery_id)


class Claimed(NamedTuple):
    """As much of a claim."""

    delivery_id: int = 7
    priority: int = 1
    expires: float | None = None
    lease_until: float = 1_700_000_000.0
    guarantee: str = "at_least_once"


def a_carriage(
    *,
    lease: float = 30.0,
    going: bool = True,
    door: Door | None = None,
    marks: bool = True,
    **fields: Any,
) -> Carriage:
    async def mark(claim: Claim) -> bool:
        return marks

    return Carriage(
        cast(Claim, Claimed(**fields)),
        deadline=boot_clock() + lease,
        going=lambda: going,
        recorder=cast(Recorder, door or Door()),
        connections=1,
        mark=mark,
    )


def may_leave(carriage: Carriage) -> bool:
    return asyncio.run(carriage.content())


def test_a_letter_under_its_lease_may_go() -> None:
    carriage = a_carriage()
    assert carriage.valid()
    assert may_leave(carriage)


@pytest.mark.parametrize(
    "given",
    [{"lease": MARGIN / 2}, {"going": False}, {"expires": 1.0}],
    ids=["its lease ends", "the worker stops", "it has expired"],
)
def test_an_envelope_is_not_written_when(given: dict[str, Any]) -> None:
    assert not a_carriage(**given).valid()


def test_a_lease_that_is_lost_lets_nothing_leave() -> None:
    door = Door()
    carriage = a_carriage(door=door)
    carriage.lose()
    assert not carriage.valid()
    assert not may_leave(carriage)
    assert door.exposed == set()


def test_what_was_begun_is_finished_when_the_worker_stops() -> None:
    assert may_leave(a_carriage(going=False))


@pytest.mark.parametrize("marks", [True, False])
def test_at_most_once_the_content_leaves_only_when_that_is_recorded(marks: bool) -> None:
    door = Door()
    assert may_leave(a_carriage(guarantee=AT_MOST_ONCE, marks=marks, door=door)) is marks
    assert door.exposed == ({7} if marks else set())


@pytest.mark.parametrize(("priority", "urgent"), [(0, True), (1, False), (2, False)])
def test_only_what_is_high_is_urgent(priority: int, urgent: bool) -> None:
    assert a_carriage(priority=priority).urgent is urgent
