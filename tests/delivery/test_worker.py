"""The worker's rules, on a real outbox and with a transport that does what the test says."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from sqlalchemy import update

from delivery.conftest import ACCEPTED, Answer, Road, accept, letter, put
from flask_outbox.delivery.courier import Courier
from flask_outbox.delivery.recorder import UNRECORDED
from flask_outbox.delivery.settings import WorkerSettings
from flask_outbox.delivery.worker import Worker
from flask_outbox.ledger.file import DrainerLock
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.store import Store
from flask_outbox.ledger.tables import delivery
from flask_outbox.mail.letter import Letter, Terms
from flask_outbox.rules.limits import Breaker, Limit, Limits
from flask_outbox.rules.outcomes import Kind, Outcome, Phase, Report, Scope
from flask_outbox.rules.retry import AT_MOST_ONCE, Plan, RetryPolicy
from flask_outbox.rules.states import State
from flask_outbox.transports.base import Clearance
from transports.test_smtp_pool import until


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    """Of every database; the other tests of this room need none but SQLite."""
    store = Store(database)
    yield store
    store.dispose()


SETTINGS = WorkerSettings(drain_timeout=5, poll=0.05)
DEFERRED = Outcome(Kind.DEFERRED, code=451)


def worker(
    store: Store, road: Road, settings: WorkerSettings = SETTINGS, **options: object
) -> Worker:
    if store.path is not None:
        options.setdefault("lock", DrainerLock(store.path, external=True))
    return Worker(
        store,
        road.courier(),
        settings,
        policy=RetryPolicy(),
        **options,  # type: ignore[arg-type]
    )


def drain(store: Store, road: Road, settings: WorkerSettings = SETTINGS, **options: object) -> None:
    """Run a worker until nothing is due."""

    async def run() -> None:
        one = worker(store, road, settings, **options)
        one.finish()
        await one.run()

    asyncio.run(run())


def states(store: Store) -> dict[str, int]:
    return {
        state: count for state, count in Reports(store).status(time.time()).counts.items() if count
    }


def make_due(store: Store) -> None:
    """As if the time of the next try had come."""
    with store.database.transaction() as connection:
        connection.execute(
            update(delivery).where(delivery.c.state == State.QUEUED.value).values(due=0)
        )


def noting(left: list[str]) -> Answer:
    """A server that takes everything, and notes whose content it got."""

    async def note(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        report = await accept(letter, to, clearance)
        if report:
            left.append(letter.id)
        return report

    return note


def always(outcome: Outcome) -> Answer:
    async def answer(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        return Report.of(to, outcome)

    return answer


def test_everything_due_is_delivered_once(store: Store) -> None:
    put(store, *(letter(number) for number in range(50)))
    road = Road()
    drain(store, road)
    assert sorted(id for id, _ in road.carried) == [f"{number:032x}" for number in range(50)]
    assert states(store) == {"sent": 50}


def test_no_more_is_in_hand_than_the_transport_takes(store: Store) -> None:
    put(store, *(letter(number) for number in range(50)))
    road = Road(concurrency=6)
    drain(store, road)
    assert road.most_in_hand == 6


def test_what_is_due_later_stays(store: Store) -> None:
    put(store, letter(1), terms=Terms(due=time.time() + 60))
    road = Road()
    drain(store, road)
    assert road.carried == []


def test_what_is_deferred_is_due_again_by_the_schedule(store: Store) -> None:
    put(store, letter(1))
    drain(store, Road(always(DEFERRED)))
    view = Reports(store).get(letter(1).id)
    assert view is not None
    assert (view.state, view.tries) == ("retrying", 1)
    assert 20 < view.due - time.time() < 40


def test_a_retry_reaches_only_who_is_still_open(store: Store) -> None:
    put(store, letter(1, "a@example.org", "b@example.org", "c@example.org"))

    async def mixed(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        refused = Outcome(Kind.REFUSED, code=550)
        return Report(dict(zip(to, (ACCEPTED, DEFERRED, refused), strict=True)))

    drain(store, Road(mixed))
    make_due(store)
    road = Road()
    drain(store, road)
    assert road.carried == [(letter(1).id, ("b@example.org",))]


def test_high_priority_goes_before_what_was_there_first(store: Store) -> None:
    put(store, *(letter(number) for number in range(30)), terms=Terms(priority=2))
    put(store, letter(99), terms=Terms(priority=0))
    road = Road(concurrency=2)
    drain(store, road)
    assert letter(99).id in [id for id, _ in road.carried[:2]]


def test_a_wrong_password_pauses_the_transport_and_touches_no_other_letter(store: Store) -> None:
    put(store, *(letter(number) for number in range(5)))
    refused = Outcome(Kind.REFUSED, Scope.ACCOUNT, code=535, text="wrong password")
    road = Road(always(refused), concurrency=1)
    drain(store, road)
    status = Reports(store).status(time.time())
    assert len(road.carried) == 1
    assert status.paused == {"default": "535 wrong password"}
    assert states(store) == {"queued": 5}


def test_the_next_worker_opens_what_a_worker_had_paused(store: Store) -> None:
    put(store, letter(1), letter(2))
    store.pause("default", "535 wrong password", by="worker")
    drain(store, Road())
    assert states(store) == {"sent": 2}


def test_what_a_person_paused_stays_paused(store: Store) -> None:
    put(store, letter(1))
    store.pause("default", "by hand", by="person")
    road = Road()
    drain(store, road)
    assert road.carried == []


def test_no_content_leaves_while_too_many_results_wait_for_their_commit(store: Store) -> None:
    """With the database away, at most the bound and what was already past the gate is sent."""
    put(store, *(letter(number) for number in range(200)))
    left: list[str] = []

    async def run() -> int:
        one = worker(store, Road(noting(left), concurrency=4))
        finish, away = store.finish, asyncio.Event()

        def fail(results: object, now: float) -> set[int]:
            raise OSError("the database is away")

        store.finish = fail  # type: ignore[method-assign]
        running = asyncio.create_task(one.run())
        seen = -1
        while seen != len(left) or seen < UNRECORDED:
            seen = len(left)
            await asyncio.sleep(0.3)
        store.finish = finish  # type: ignore[method-assign]
        one.finish()
        await running
        assert not away.is_set()
        return seen

    assert UNRECORDED <= asyncio.run(run()) <= UNRECORDED + 4
    assert states(store) == {"sent": 200}
    assert len(left) == 200


def test_told_to_stop_it_finishes_what_is_being_sent_and_gives_the_rest_back(store: Store) -> None:
    put(store, *(letter(number) for number in range(20)))
    started: list[str] = []

    async def run() -> None:
        release = asyncio.Event()

        async def slow(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
            started.append(letter.id)
            await release.wait()
            return Report.of(to, ACCEPTED)

        one = worker(store, Road(slow, concurrency=4))
        running = asyncio.create_task(one.run())
        while len(started) < 4:
            await asyncio.sleep(0)
        one.stop()
        release.set()
        await running

    asyncio.run(run())
    assert len(started) == 4
    assert states(store) == {"sent": 4, "queued": 16}


def test_what_does_not_finish_in_time_is_given_back(store: Store) -> None:
    put(store, letter(1))
    settings = replace(SETTINGS, drain_timeout=0.05)

    async def run() -> None:
        started = asyncio.Event()

        async def endless(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
            started.set()
            await asyncio.Event().wait()
            return Report()

        one = worker(store, Road(endless), settings)
        running = asyncio.create_task(one.run())
        await started.wait()
        one.stop()
        await running

    asyncio.run(run())
    assert states(store) == {"queued": 1}


def test_a_bug_in_a_transport_is_one_failed_try_and_the_worker_goes_on(store: Store) -> None:
    put(store, letter(1), letter(2))

    async def broken(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        if letter.id.endswith("1"):
            raise ZeroDivisionError
        return await accept(letter, to, clearance)

    drain(store, Road(broken))
    assert states(store) == {"sent": 1, "retrying": 1}


def test_at_most_once_a_lost_answer_becomes_uncertain(store: Store) -> None:
    put(store, letter(1), terms=Terms(guarantee=AT_MOST_ONCE))

    async def lost(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        assert await clearance.content()
        return Report.of(to, Outcome(Kind.UNKNOWN, Scope.TRANSPORT, Phase.AFTER))

    road = Road(lost)
    drain(store, road)
    drain(store, road)
    assert len(road.carried) == 1
    assert states(store) == {"uncertain": 1}


def test_a_lost_lease_lets_no_content_leave(store: Store) -> None:
    put(store, letter(1))
    cleared: list[bool] = []

    async def late(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        store.rescue_all(time.time())
        while clearance.valid():
            await asyncio.sleep(0.01)
        cleared.append(await clearance.content())
        return Report()

    async def run() -> None:
        one = worker(store, Road(late), replace(SETTINGS, heartbeat=0.05))
        running = asyncio.create_task(one.run())
        while not cleared:
            await asyncio.sleep(0.01)
        one.stop()
        await running

    asyncio.run(run())
    assert cleared[0] is False


def test_watchers_hear_of_each_try_after_it_is_recorded(store: Store) -> None:
    put(store, letter(1), letter(2))
    heard: list[tuple[str, str, dict[str, int]]] = []

    def watch(letter: Letter, report: Report, plan: Plan) -> None:
        heard.append((letter.id, str(plan.state), states(store)))

    drain(store, Road(), watchers=[watch])
    assert sorted((id, state) for id, state, _ in heard) == [
        (letter(1).id, "sent"),
        (letter(2).id, "sent"),
    ]
    assert all(seen["sent"] >= 1 for _, _, seen in heard)


def test_a_watcher_that_fails_stops_nothing(store: Store) -> None:
    put(store, letter(1), letter(2))

    def watch(letter: Letter, report: Report, plan: Plan) -> None:
        raise ZeroDivisionError

    drain(store, Road(), watchers=[watch])
    assert states(store) == {"sent": 2}


@pytest.mark.only("sqlite")
def test_one_drainer_a_file_the_other_stands_by_and_takes_over(store: Store) -> None:
    assert store.path is not None
    lock = DrainerLock(store.path, external=True)
    assert lock.acquire()
    put(store, letter(1))

    async def run() -> list[int]:
        road = Road()
        one = worker(store, road)
        running = asyncio.create_task(one.run())
        await asyncio.sleep(0.2)
        before = len(road.carried)
        lock.release()
        while not road.carried:
            await asyncio.sleep(0.01)
        one.stop()
        await running
        return [before, len(road.carried)]

    assert asyncio.run(run()) == [0, 1]


def test_an_idle_worker_looks_once_a_poll(store: Store) -> None:
    store.check_schema()
    looks: list[float] = []
    agenda: Callable[[float], list[object]] = store.agenda  # type: ignore[assignment]

    def count(now: float) -> list[object]:
        looks.append(now)
        return agenda(now)

    store.agenda = count  # type: ignore[method-assign, assignment]

    async def run() -> None:
        one = worker(store, Road(), replace(SETTINGS, poll=0.5))
        running = asyncio.create_task(one.run())
        while not looks:
            await asyncio.sleep(0.01)
        first = looks[0]
        while len(looks) < 3:
            await asyncio.sleep(0.01)
        assert looks[2] - first >= 0.9
        one.stop()
        await running

    asyncio.run(run())


@pytest.mark.only("sqlite")
def test_a_worker_that_starts_before_anything_was_stored_makes_the_outbox(store: Store) -> None:
    assert store.path is not None
    store.path.unlink()
    drain(store, Road())
    assert store.path.exists()


@pytest.mark.only("sqlite")
def test_an_outbox_that_cannot_be_used_is_complained_of_once_and_tried_again(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    assert store.path is not None
    store.path.unlink()
    store.path.mkdir()  # a folder where the file belongs
    road = Road()

    async def run() -> None:
        one = worker(store, road)
        running = asyncio.create_task(one.run())
        started = one.last_tick
        while one.last_tick < started + 4 * SETTINGS.poll:
            await asyncio.sleep(0.01)
        store.path.rmdir()  # type: ignore[union-attr]
        await asyncio.to_thread(put, store, letter(1))
        while not road.carried:
            await asyncio.sleep(0.01)
        one.stop()
        await running

    asyncio.run(run())
    complaints = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(complaints) == 1
    assert states(store) == {"sent": 1}


def test_watchers_hear_of_what_expired_before_it_could_be_sent(store: Store) -> None:
    put(store, letter(1), terms=Terms(expires=time.time() - 1))
    heard: list[tuple[str, str, str]] = []

    def watch(letter: Letter, report: Report, plan: Plan) -> None:
        heard.append((letter.id, str(plan.state), plan.reason))

    road = Road()
    drain(store, road, watchers=[watch])
    assert road.carried == []
    assert heard == [(letter(1).id, "dead", "expired")]


@pytest.mark.only("sqlite")
def test_a_worker_that_gives_way_starts_nothing_more_and_leaves_nothing_behind(
    store: Store,
) -> None:
    """What was claimed ahead goes back; the one who takes over sends it, once."""
    assert store.path is not None
    put(store, *(letter(number) for number in range(400)))
    external = DrainerLock(store.path, external=True)
    left: list[str] = []

    async def run() -> None:
        lock = DrainerLock(store.path, external=False)  # type: ignore[arg-type]
        road = Road(noting(left), concurrency=4)
        one = Worker(store, road.courier(), SETTINGS, policy=RetryPolicy(), lock=lock)
        running = asyncio.create_task(one.run())
        while len(left) < 150:
            await asyncio.sleep(0)
        while not external.acquire():
            await asyncio.sleep(0.001)
        assert len(left) == states(store)["sent"] < 400
        assert states(store)["queued"] == 400 - len(left)
        one.stop()
        await running

    asyncio.run(run())
    external.release()
    drain(store, Road(noting(left)))
    assert len(left) == len(set(left)) == 400


def test_without_a_mail_server_the_worker_says_so(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    put(store, letter(1))

    async def run() -> None:
        one = Worker(store, Courier(dict), SETTINGS, policy=RetryPolicy())
        running = asyncio.create_task(one.run())
        while "MAIL_SERVER" not in caplog.text:
            await asyncio.sleep(0.01)
        one.stop()
        await running

    asyncio.run(run())
    assert states(store) == {"queued": 1}


# -- limits ----------------------------------------------------------------------------------------------------

BROKEN = Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="connection refused")


def test_a_broken_transport_is_left_alone_after_some_failures(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(database, limits=Limits(breaker=Breaker(4, pause=60)))
    put(store, *(letter(number) for number in range(200)))
    road = Road(always(BROKEN), concurrency=2)
    drain(store, road)
    assert 4 <= len(road.carried) < 200
    counts = Reports(store).status(time.time()).counts
    assert counts["queued"] == 200 - len(road.carried)
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 1
    assert "'default' failed" in said[0]
    assert "flask mail doctor" in said[0]
    store.dispose()


@pytest.mark.only("sqlite")
def test_watchers_hear_once_that_a_breaker_has_opened(database: str) -> None:
    store = Store(database, limits=Limits(breaker=Breaker(4, pause=60)))
    put(store, *(letter(number) for number in range(200)))
    heard: list[str] = []
    road = Road(always(BROKEN), concurrency=2)
    drain(store, road, watchers=[lambda letter, report, plan: heard.append(plan.pause)])
    (pause,) = filter(None, heard)
    assert re.fullmatch(r"breaker: \d+ tries in a row failed, the last: connection refused", pause)
    assert len(heard) == len(road.carried)
    store.dispose()


@pytest.mark.only("sqlite")
def test_what_is_claimed_ahead_when_a_breaker_opens_is_given_back_untried(database: str) -> None:
    """One try fails and two are under way by then: those are all, however many were claimed."""
    store = Store(database, limits=Limits(breaker=Breaker(1, pause=60)))
    put(store, *(letter(number) for number in range(200)))

    async def main() -> Road:
        gate = asyncio.Event()

        async def answer(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
            number = int(letter.id, 16)
            if number < 100:
                return await accept(letter, to, clearance)
            if number > 100:
                await gate.wait()
            return Report.of(to, BROKEN)

        road = Road(answer, concurrency=2)
        one = worker(store, road)
        running = asyncio.create_task(one.run())
        await until(
            lambda: states(store) == {"sent": 100, "retrying": 1, "sending": 2, "queued": 97}
        )
        gate.set()
        one.finish()
        await running
        return road

    assert len(asyncio.run(main()).carried) == 103
    assert states(store) == {"sent": 100, "retrying": 3, "queued": 97}
    assert {view.tries for view in Reports(store).list(state="queued", limit=97)} == {0}
    store.dispose()


def test_what_a_breaker_keeps_back_has_burnt_no_attempt(database: str) -> None:
    store = Store(database, limits=Limits(breaker=Breaker(2, pause=60)))
    put(store, *(letter(number) for number in range(200)))
    drain(store, Road(always(BROKEN), concurrency=2))
    waiting = Reports(store).list(state="queued")
    assert {view.tries for view in waiting if not view.attempts} == {0}
    store.dispose()


def test_once_it_answers_again_its_mail_goes_on(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(database, limits=Limits(breaker=Breaker(2, pause=0.2)))
    put(store, *(letter(number) for number in range(200)))

    async def answer(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        is_known = "in a row" in caplog.text
        return await accept(letter, to, clearance) if is_known else Report.of(to, BROKEN)

    with caplog.at_level("WARNING"):
        drain(store, Road(answer, concurrency=1))
    assert set(states(store)) == {"retrying", "sent"}
    assert "transport 'default' answers again, its mail goes on" in caplog.text
    store.dispose()


def test_two_workers_together_send_no_more_than_the_limit(database: str) -> None:
    limits = Limits({"default": Limit(hour=20)}, {"slow.org": Limit(day=3)})
    stores = [Store(database, limits=limits) for _ in range(2)]
    put(stores[0], *(letter(number) for number in range(40)))
    put(stores[0], *(letter(number, f"{number}@slow.org") for number in range(40, 50)))
    road = Road(concurrency=3)

    async def run() -> None:
        workers = [worker(store, road) for store in stores]
        for one in workers:
            one.finish()
        await asyncio.gather(*(one.run() for one in workers))

    asyncio.run(run())
    to_slow = sum(to[0].endswith("@slow.org") for _, to in road.carried)
    assert (len(road.carried), to_slow <= 3) == (20, True)
    assert states(stores[0]) == {"queued": 30, "sent": 20}
    for store in stores:
        store.dispose()


def test_a_worker_that_drains_once_waits_for_the_next_second(database: str) -> None:
    store = Store(database, limits=Limits({"default": Limit(second=4)}))
    put(store, *(letter(number) for number in range(6)))
    drain(store, Road())
    assert states(store) == {"sent": 6}
    store.dispose()


def test_a_messages_own_delays_go_before_those_of_the_worker(store: Store) -> None:
    put(store, replace(letter(1), retry_delays=(7_200.0,)), replace(letter(2), retry_delays=()))
    drain(store, Road(always(DEFERRED)))
    once, never = (Reports(store).get(letter(number).id) for number in (1, 2))
    assert once
    assert never
    assert 5_000 < once.due - time.time() < 9_000
    assert (never.state, never.reason) == ("dead", "deferred")
