"""Transports that letters bring along: made on demand, kept while they are used, closed after."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps

import pytest

from delivery.conftest import ACCEPTED, Answer, Road, accept, letter, put
from flask_outbox.delivery.courier import Courier, Unconditional
from flask_outbox.delivery.passing import PassingRoads
from flask_outbox.delivery.settings import WorkerSettings
from flask_outbox.delivery.worker import Worker
from flask_outbox.errors import ConfigurationError
from flask_outbox.ledger.file import DrainerLock
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Letter, Terms
from flask_outbox.rules.outcomes import Kind, Outcome, Report, Scope
from flask_outbox.rules.retry import RetryPolicy
from flask_outbox.transports.base import Clearance

A, B, C = "smtp://a.example.org", "smtp://b.example.org", "smtp://c.example.org"


class Made:
    """Notes the roads that were made, by URL."""

    def __init__(self, answer: Answer = accept, concurrency: int = 8) -> None:
        self.roads: dict[str, list[Road]] = {}
        self._answer = answer
        self._concurrency = concurrency

    def __call__(self, url: str) -> Road:
        road = Road(self._answer, self._concurrency)
        self.roads.setdefault(url, []).append(road)
        return road

    @property
    def closed(self) -> list[str]:
        return [url for url, roads in self.roads.items() if all(road.closed for road in roads)]


def on_a_loop(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


# -- keeping -----------------------------------------------------------------------------------------------------


@on_a_loop
async def test_two_letters_for_one_url_share_a_transport() -> None:
    made = Made()
    roads = PassingRoads(made)
    with roads.use(A) as first, roads.use(A) as second:
        assert first is second
    with roads.use(A) as third:
        assert third is first
    await roads.aclose()


@on_a_loop
async def test_the_one_not_used_for_longest_is_closed_when_there_are_too_many() -> None:
    made = Made()
    roads = PassingRoads(made, most=2)
    for url in (A, B, A, C):
        with roads.use(url):
            pass
    await until(lambda: made.closed)
    assert made.closed == [B]
    await roads.aclose()


@on_a_loop
async def test_none_is_closed_under_its_letter() -> None:
    made = Made()
    roads = PassingRoads(made, most=1)
    with roads.use(A), roads.use(B), roads.use(C):
        assert roads.spare < 1
        assert not made.closed
    await until(lambda: len(made.closed) == 2)
    await roads.aclose()


@on_a_loop
async def test_one_without_letters_for_a_while_is_closed_and_made_anew_for_the_next() -> None:
    made = Made()
    roads = PassingRoads(made, idle=0)
    with roads.use(A):
        await asyncio.sleep(0)
        assert not made.closed
    await until(lambda: made.closed)
    with roads.use(A) as road:
        assert road is made.roads[A][1]
    await until(lambda: len(made.closed) == len(made.roads))
    await roads.aclose()


@on_a_loop
async def test_all_are_closed_at_the_end_though_one_fails() -> None:
    made = Made()
    roads = PassingRoads(made)
    for url in (A, B):
        with roads.use(url):
            pass

    async def fail() -> None:
        raise OSError("no")

    made.roads[A][0].aclose = fail  # type: ignore[method-assign]
    await roads.aclose()
    assert made.closed == [B]


# -- carrying ----------------------------------------------------------------------------------------------------


@on_a_loop
async def test_the_report_names_the_transport_without_its_password() -> None:
    made = Made()
    courier = Courier(dict, made)
    url = "smtp://me:secret@a.example.org"
    name = "smtp://me@a.example.org"
    report = await courier.carry(letter(1), letter(1).envelope_to, name, Unconditional(), url)
    assert (report.transport, list(made.roads)) == (name, [url])
    await courier.aclose()
    assert made.closed == [url]


@on_a_loop
async def test_one_that_cannot_be_made_any_more_is_an_outcome() -> None:
    def make(url: str) -> Road:
        raise ConfigurationError("'MAIL_TLS_CA' must be a readable file of PEM certificates.")

    courier = Courier(dict, make)
    report = await courier.carry(letter(1), ("a@example.org",), A, Unconditional())
    outcome = report.outcomes["a@example.org"]
    assert (outcome.kind, outcome.scope) == (Kind.DEFERRED, Scope.TRANSPORT)
    assert "MAIL_TLS_CA" in outcome.text


# -- draining ----------------------------------------------------------------------------------------------------


def drain(store: Store, made: Made, default: Road | None = None) -> None:
    """Run a worker until nothing is due."""

    async def run() -> None:
        courier = Courier(lambda: {"default": default} if default else {}, made)
        assert store.path is not None
        one = Worker(
            store,
            courier,
            WorkerSettings(drain_timeout=5, poll=0.01),
            policy=RetryPolicy(),
            lock=DrainerLock(store.path, external=True),
        )
        one.finish()
        await one.run()
        await courier.aclose()

    asyncio.run(run())


def states(store: Store) -> dict[str, int]:
    return {state: n for state, n in Reports(store).status(time.time()).counts.items() if n}


def carried(made: Made) -> dict[str, list[str]]:
    return {
        url: [id for road in roads for id, _ in road.carried] for url, roads in made.roads.items()
    }


def test_each_letter_goes_over_the_transport_it_brought_along(store: Store) -> None:
    put(store, letter(1))
    put(store, letter(2), letter(3), terms=Terms(transport=A))
    put(store, letter(4), terms=Terms(transport=B))
    made, default = Made(), Road()
    drain(store, made, default)
    assert default.carried == [(letter(1).id, letter(1).envelope_to)]
    assert carried(made) == {A: [letter(2).id, letter(3).id], B: [letter(4).id]}
    assert made.closed == [A, B]
    assert states(store) == {"sent": 4}


def test_many_of_them_are_drained_by_a_few_at_a_time(store: Store) -> None:
    urls = [f"smtp://{number}.example.org" for number in range(40)]
    for number, url in enumerate(urls):
        put(store, letter(2 * number), letter(2 * number + 1), terms=Terms(transport=url))
    made = Made()
    drain(store, made)
    assert states(store) == {"sent": 80}
    assert sorted(made.closed) == sorted(urls)


def test_a_full_default_transport_does_not_keep_them_waiting(store: Store) -> None:
    put(store, letter(1), letter(2))
    put(store, letter(3), terms=Terms(transport=A))
    arrived = asyncio.Event()

    async def wait(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        await asyncio.wait_for(arrived.wait(), 10)
        return await accept(letter, to, clearance)

    async def arrive(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        arrived.set()
        return await accept(letter, to, clearance)

    drain(store, Made(arrive), Road(wait, concurrency=1))
    assert states(store) == {"sent": 3}


def test_a_wrong_login_pauses_that_transport_only(store: Store) -> None:
    put(store, letter(1))
    put(store, letter(2), letter(3), terms=Terms(transport=A))
    put(store, letter(4), terms=Terms(transport=B))
    refused = Outcome(Kind.REFUSED, Scope.ACCOUNT, code=530, text="log in first")

    async def answer(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        return Report.of(to, ACCEPTED if letter.id == f"{4:032x}" else refused)

    drain(store, Made(answer, concurrency=1), Road())
    status = Reports(store).status(time.time())
    assert status.paused == {A: "530 log in first"}
    assert status.counts["sent"] == 2


def test_a_worker_that_starts_tries_a_paused_one_again(store: Store) -> None:
    store.pause(A, "530 log in first", by="worker")
    store.pause(B, "paused by hand", by="person")
    put(store, letter(1), terms=Terms(transport=A))
    put(store, letter(2), terms=Terms(transport=B))
    drain(store, made := Made())
    assert list(made.roads) == [A]


def test_without_a_mail_server_only_what_needs_none_goes(store: Store) -> None:
    put(store, letter(1))
    put(store, letter(2), terms=Terms(transport=A))
    drain(store, Made())
    assert states(store) == {"sent": 1, "queued": 1}


@pytest.mark.parametrize("url", [A, "smtp://me@[::1]:25?tls=never", "file:///var/mail/out"])
def test_the_lane_of_a_url_is_the_url(store: Store, url: str) -> None:
    put(store, letter(1), terms=Terms(transport=url))
    [lane] = store.agenda(time.time())
    assert lane.transport == url
