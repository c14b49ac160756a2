"""Letters, clearances, and a transport to a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import pytest

from flask_outbox.delivery.loop import Loop, new_loop
from flask_outbox.mail.address import Address
from flask_outbox.mail.letter import Letter
from flask_outbox.rules.outcomes import Kind, Outcome, Phase, Report, Scope
from flask_outbox.transports.base import Clearance
from flask_outbox.transports.smtp import SmtpSettings, SmtpTransport

T = TypeVar("T")

YOU = ("you@example.net",)

#: What letters are sent on: Python's own loop, and uvloop's, which is taken where that is installed.
LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": Loop, "uvloop": new_loop}
chosen_loop: ContextVar[str] = ContextVar("chosen_loop", default="asyncio")

#: Marks a test that :func:`run` is to run on each of them.
on_each_loop = pytest.mark.usefixtures("each_loop")


def run(main: Coroutine[Any, Any, T]) -> T:
    """As ``asyncio.run``, on the loop that the test is run for."""
    with asyncio.Runner(loop_factory=LOOPS[chosen_loop.get()]) as runner:
        return runner.run(main)


def letter(number: int = 1, to: Sequence[str] = YOU, **fields: Any) -> Letter:
    """A letter whose content names its number."""
    given: dict[str, Any] = {
        "envelope_from": "me@example.org",
        "raw": f"Subject: {number}\r\n\r\nBody\r\n".encode(),
        **fields,
    }
    return Letter(
        id=f"{number:032x}",
        message_id=f"<{number}@example.org>",
        date=1_750_000_000,
        envelope_to=tuple(to),
        sender=Address("me@example.org"),
        **given,
    )


def letters(count: int, to: Sequence[str] = YOU) -> list[Letter]:
    return [letter(number, to) for number in range(1, count + 1)]


class Cleared(Clearance):
    """A clearance that a test gives, withdraws or holds back; notes when it was asked."""

    def __init__(self, *, valid: bool = True, content: bool = True, urgent: bool = False) -> None:
        self.urgent = urgent
        self.is_valid = valid
        self.for_content = content
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.content_asked = asyncio.Event()

    def valid(self) -> bool:
        self.asked.append("valid")
        return self.is_valid

    async def content(self) -> bool:
        self.asked.append("content")
        self.content_asked.set()
        await self.may_answer.wait()
        return self.for_content


@asynccontextmanager
async def road_to(port: int, **settings: Any) -> AsyncIterator[SmtpTransport]:
    """A transport to a port of this machine, with one connection unless told otherwise."""
    given: dict[str, Any] = {"host": "127.0.0.1", "tls": "never", "pool_size": 1, **settings}
    road = SmtpTransport(SmtpSettings(port=port, **given))
    try:
        yield road
    finally:
        await road.aclose()


async def send(road: SmtpTransport, letter: Letter, clearance: Clearance | None = None) -> Report:
    return await road.deliver(letter, letter.envelope_to, clearance or Cleared())


def deliver(port: int, *batch: Letter, **settings: Any) -> list[Report]:
    """Send letters at the same time, and close."""

    async def main() -> list[Report]:
        async with road_to(port, **settings) as road:
            return await asyncio.gather(*(send(road, letter) for letter in batch))

    return run(main())


def only(report: Report) -> Outcome:
    """The outcome of a letter to one recipient."""
    (outcome,) = report.outcomes.values()
    return outcome


def facts(report: Report) -> tuple[Kind, Scope, Phase]:
    """What decides: kind, scope and phase, the same for everyone."""
    (found,) = {(o.kind, o.scope, o.phase) for o in report.outcomes.values()}
    return found
