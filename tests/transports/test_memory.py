"""The transport that keeps, and the one that forgets."""

from __future__ import annotations

import asyncio

import pytest

from flask_outbox.rules.outcomes import Report
from flask_outbox.transports.base import Transport
from flask_outbox.transports.memory import MemoryTransport
from flask_outbox.transports.null import NullTransport

from .sending import Cleared, letter

TO = ("a@example.net", "b@example.net")


async def send(road: Transport, clearance: Cleared) -> Report:
    report = await road.deliver(letter(to=TO), TO, clearance)
    await road.aclose()
    return report


def test_memory_keeps_letters_with_their_recipients() -> None:
    road = MemoryTransport()
    report = asyncio.run(send(road, Cleared()))
    assert report.all_accepted
    assert tuple(report.outcomes) == TO
    assert road.sent == [(letter(to=TO), TO)]


def test_null_accepts_for_everyone() -> None:
    report = asyncio.run(send(NullTransport(), Cleared()))
    assert report.all_accepted
    assert tuple(report.outcomes) == TO


@pytest.mark.parametrize("make", [MemoryTransport, NullTransport])
@pytest.mark.parametrize("withdrawn", [{"valid": False}, {"content": False}])
def test_what_is_withdrawn_is_not_sent(make: type[Transport], withdrawn: dict[str, bool]) -> None:
    road = make()
    assert asyncio.run(send(road, Cleared(**withdrawn))) == Report()
    assert getattr(road, "sent", []) == []
