"""A real outbox in a temporary folder, letters, and a transport that does what a test says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from flask_outbox.delivery.courier import Courier
from flask_outbox.ledger.store import Store
from flask_outbox.mail.address import Address
from flask_outbox.mail.letter import Letter, Terms
from flask_outbox.rules.outcomes import Kind, Outcome, Report
from flask_outbox.transports.base import Clearance, Transport

ACCEPTED = Outcome(Kind.ACCEPTED, code=250)

Answer = Callable[[Letter, tuple[str, ...], Clearance], Awaitable[Report]]


async def accept(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
    """A server that takes everything."""
    if not clearance.valid() or not await clearance.content():
        return Report()
    return Report.of(to, ACCEPTED)


class Road(Transport):
    """Notes what it carries and answers as it is told."""

    def __init__(self, answer: Answer = accept, concurrency: int = 8, kept: int = 0) -> None:
        self.concurrency = self.connections = concurrency
        self.kept = kept
        self.answer = answer
        self.carried: list[tuple[str, tuple[str, ...]]] = []
        self.in_hand = 0
        self.most_in_hand = 0
        self.closed = False

    async def deliver(self, letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        self.in_hand += 1
        self.most_in_hand = max(self.most_in_hand, self.in_hand)
        try:
            await asyncio.sleep(0)
            self.carried.append((letter.id, to))
            return await self.answer(letter, to, clearance)
        finally:
            self.in_hand -= 1

    async def aclose(self) -> None:
        self.closed = True

    def courier(self) -> Courier:
        return Courier(lambda: {"default": self})


def letter(number: int, *recipients: str) -> Letter:
    to = recipients or (f"user{number}@example.org",)
    return Letter(
        id=f"{number:032x}",
        message_id=f"<{number}@example.org>",
        date=1_700_000_000,
        envelope_from="app@example.org",
        envelope_to=to,
        sender=Address("app@example.org"),
        to=tuple(map(Address, to)),
        subject=f"Number {number}",
        text="Hello\n",
    )


def put(store: Store, *letters: Letter, terms: Terms | None = None) -> None:
    """Store letters, due now."""
    store.add([(one, terms or Terms()) for one in letters], time.time())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/outbox.sqlite")
    yield store
    store.dispose()
