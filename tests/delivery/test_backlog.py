"""Letters in memory: how many, when they go, and what becomes of them at the end."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from delivery.conftest import ACCEPTED, Answer, Road, accept, letter
from flask_outbox.delivery.backlog import Backlog
from flask_outbox.delivery.process import Process
from flask_outbox.delivery.settings import BacklogSettings
from flask_outbox.delivery.telling import Told
from flask_outbox.errors import BacklogFullError, ConfigurationError, OutboxError
from flask_outbox.mail.letter import Letter, Terms
from flask_outbox.rules.outcomes import Kind, Outcome, Report, Scope
from flask_outbox.rules.retry import RetryPolicy
from flask_outbox.rules.states import State
from flask_outbox.transports.base import Clearance
from servers.process import wait_until

SOON = RetryPolicy(delays=(0.01,), jitter=0)
LATE = RetryPolicy(delays=(600,), jitter=0)
BUSY = Outcome(Kind.DEFERRED, code=451)
WRONG_PASSWORD = Outcome(Kind.REFUSED, Scope.ACCOUNT, code=535)

Batch = Sequence[tuple[Letter, Terms]]


class Memory:
    """A process that keeps letters in memory, and what it told."""

    def __init__(
        self,
        road: Road,
        settings: BacklogSettings | None = None,
        *,
        policy: RetryPolicy = SOON,
        patience: float = 20,
        store: Callable[[Batch], object] | None = None,
        drain_timeout: float = 20,
    ) -> None:
        self.told: list[Told] = []

        def make(process: Process, courier: object) -> Backlog:
            return Backlog(
                process,
                courier,  # type: ignore[arg-type]
                settings or BacklogSettings(),
                tell=self.told.append,
                store=store,
                policy=policy,
                patience=patience,
            )

        self.process = Process(road.courier, None, drain_timeout, make_backlog=make)

    @property
    def backlog(self) -> Backlog:
        return self.process.backlog

    def put(self, *numbers: int, wait: bool = False, **terms: object) -> object:
        batch = [(letter(number), Terms(**terms)) for number in numbers]  # type: ignore[arg-type]
        return self.backlog.put(batch, wait=wait)

    @property
    def ends(self) -> list[tuple[int, State, str]]:
        """Number, state and reason of what is over, in order."""
        return [
            (int(one.id, 16), plan.state, plan.reason)
            for one, _, plan in self.told
            if plan.due is None
        ]

    def close(self) -> None:
        self.process.close()


class Gate:
    """An answer that a test holds back."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(self, letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        await clearance.content()
        while not self._open.is_set():
            await asyncio.sleep(0.005)
        return Report.of(to, ACCEPTED)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


def answers(*outcomes: Outcome) -> Answer:
    """One after the other, and then acceptance."""
    left = list(outcomes)

    async def answer(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        return Report.of(to, left.pop(0)) if left else await accept(letter, to, clearance)

    return answer


def numbers(road: Road) -> list[int]:
    return [int(id, 16) for id, _ in road.carried]


# -- on its way ------------------------------------------------------------------------------------------------------


def test_a_letter_is_carried_and_told_as_sent() -> None:
    memory = Memory(road := Road())
    memory.put(1)
    wait_until(lambda: bool(memory.ends), "end")
    assert (numbers(road), memory.ends) == ([1], [(1, State.SENT, "")])
    assert len(memory.backlog.space) == 0
    memory.close()


def test_what_is_deferred_is_tried_again() -> None:
    memory = Memory(road := Road(answers(BUSY, BUSY)))
    memory.put(1)
    wait_until(lambda: bool(memory.ends), "end")
    memory.close()
    assert numbers(road) == [1, 1, 1]
    assert [plan.state for _, _, plan in memory.told] == [State.QUEUED, State.QUEUED, State.SENT]


def test_only_those_are_tried_again_who_have_not_got_it() -> None:
    async def second_time(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        return Report({one: BUSY if one[0] == "b" and len(to) > 1 else ACCEPTED for one in to})

    memory = Memory(road := Road(second_time))
    one = letter(1, "a@example.org", "b@example.org")
    memory.backlog.put([(one, Terms())], wait=False)
    wait_until(lambda: bool(memory.ends), "end")
    memory.close()
    assert [to for _, to in road.carried] == [
        ("a@example.org", "b@example.org"),
        ("b@example.org",),
    ]


def test_what_is_to_go_later_waits_for_its_time() -> None:
    memory = Memory(road := Road())
    due = time.time() + 0.1
    memory.put(1, due=due)
    memory.put(2)
    wait_until(lambda: len(memory.ends) == 2, "end of both")
    assert time.time() >= due
    memory.close()
    assert numbers(road) == [2, 1]


def test_the_more_urgent_goes_first(gate: Gate) -> None:
    memory = Memory(road := Road(gate, concurrency=1))
    memory.put(1)
    wait_until(lambda: road.in_hand == 1, "first letter")
    memory.put(2, priority=2)
    memory.put(3, priority=1)
    memory.put(4, priority=0)
    gate.open()
    wait_until(lambda: len(memory.ends) == 4, "end of all")
    memory.close()
    assert numbers(road) == [1, 4, 3, 2]


def test_some_of_the_room_is_kept_for_the_urgent(gate: Gate) -> None:
    """As a worker leaves them a connection: a one-time password does not stand behind a thousand newsletters."""
    memory = Memory(road := Road(gate, concurrency=4, kept=2))
    memory.put(*range(1, 6))
    wait_until(lambda: len(road.carried) == 2, "two letters under way")
    memory.put(6, priority=0)
    wait_until(lambda: len(road.carried) == 3, "the urgent letter")
    assert numbers(road) == [1, 2, 6]
    gate.open()
    wait_until(lambda: len(memory.ends) == 6, "all of them")
    assert road.most_in_hand == 3
    memory.close()


def test_no_more_are_handed_over_than_the_transport_can_take() -> None:
    memory = Memory(road := Road(concurrency=3))
    memory.put(*range(50))
    wait_until(lambda: len(memory.ends) == 50, "end of all")
    memory.close()
    assert road.most_in_hand == 3


def test_what_expired_is_not_sent_any_more() -> None:
    memory = Memory(road := Road())
    memory.put(1, expires=time.time() - 1)
    wait_until(lambda: bool(memory.ends), "end")
    memory.close()
    assert (numbers(road), memory.ends) == ([], [(1, State.DEAD, "expired")])


def test_it_is_not_tried_for_ever() -> None:
    memory = Memory(Road(answers(BUSY)), policy=RetryPolicy(delays=(60,), lifetime=30))
    memory.put(1)
    wait_until(lambda: bool(memory.ends), "end")
    memory.close()
    assert memory.ends == [(1, State.DEAD, "expired")]


# -- a fault of the account ------------------------------------------------------------------------------------------


def test_after_a_wrong_password_one_letter_tries_and_the_others_follow() -> None:
    memory = Memory(road := Road(answers(WRONG_PASSWORD, WRONG_PASSWORD), concurrency=1))
    memory.put(1, 2, 3)
    wait_until(lambda: len(memory.ends) == 3, "end of all")
    memory.close()
    assert len(road.carried) == 5
    assert {state for _, state, _ in memory.ends} == {State.SENT}


def test_a_transport_with_a_wrong_password_rests() -> None:
    memory = Memory(road := Road(answers(WRONG_PASSWORD)), policy=LATE)
    memory.put(1)
    wait_until(lambda: bool(memory.told), "the first try")
    memory.put(2, 3)
    memory.close()
    assert numbers(road) == [1]
    assert [(number, reason) for number, _, reason in memory.ends] == [
        (number, "lost at exit") for number in (1, 2, 3)
    ]


# -- the bound -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [BacklogSettings(letters=2), BacklogSettings(bytes=2_500)])
def test_there_is_room_for_so_many_letters_and_bytes(settings: BacklogSettings, gate: Gate) -> None:
    memory = Memory(Road(gate), settings)
    assert memory.put(1) is not None
    assert memory.put(2) is not None
    assert memory.put(3) is None
    gate.open()
    wait_until(lambda: len(memory.backlog.space) == 0, "room")
    assert memory.put(3) is not None
    memory.close()
    assert len(memory.ends) == 3


def test_one_that_is_larger_than_the_bound_goes_alone() -> None:
    memory = Memory(Road(), BacklogSettings(bytes=10))
    assert memory.put(1) is not None
    memory.close()
    assert memory.ends == [(1, State.SENT, "")]


def test_a_batch_is_taken_whole_or_not_at_all(gate: Gate) -> None:
    memory = Memory(Road(gate), BacklogSettings(letters=2))
    memory.put(1)
    assert memory.put(2, 3) is None
    assert len(memory.backlog.space) == 1
    gate.open()
    memory.close()


def test_a_caller_waits_for_room_and_nobody_overtakes_him(gate: Gate) -> None:
    memory = Memory(road := Road(gate), BacklogSettings(letters=2))
    memory.put(1)
    waiting = memory.put(2, 3, wait=True)
    assert memory.put(4) is None
    assert not waiting.done()  # type: ignore[attr-defined]
    gate.open()
    waiting.result(20)  # type: ignore[attr-defined]
    memory.close()
    assert sorted(numbers(road)) == [1, 2, 3]


def test_patience_ends_and_the_letter_is_not_sent(gate: Gate) -> None:
    memory = Memory(road := Road(gate), BacklogSettings(letters=1), patience=0.01)
    memory.put(1)
    waiting = memory.put(2, wait=True)
    with pytest.raises(BacklogFullError, match="MAIL_BACKGROUND_LIMIT lets 1"):
        waiting.result(20)  # type: ignore[attr-defined]
    gate.open()
    memory.close()
    assert numbers(road) == [1]


@pytest.mark.parametrize("field", ["letters", "bytes"])
def test_a_bound_without_room_for_anything_is_refused(field: str) -> None:
    with pytest.raises(ConfigurationError, match="MAIL_BACKGROUND_"):
        BacklogSettings(**{field: 0})


# -- the end ---------------------------------------------------------------------------------------------------------


def test_the_end_waits_for_what_can_be_sent() -> None:
    memory = Memory(road := Road(concurrency=1))
    memory.put(*range(100))
    memory.close()
    assert numbers(road) == list(range(100))
    assert {state for _, state, _ in memory.ends} == {State.SENT}


def test_what_waits_for_another_try_has_a_last_one_at_the_end() -> None:
    memory = Memory(road := Road(answers(BUSY)), policy=LATE)
    memory.put(1)
    wait_until(lambda: bool(memory.told), "the first try")
    memory.close()
    assert (numbers(road), memory.ends) == ([1, 1], [(1, State.SENT, "")])


def test_what_is_not_sent_by_the_end_is_told_and_logged_as_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory = Memory(road := Road(answers(BUSY, BUSY)), policy=LATE)
    memory.put(1)
    wait_until(lambda: bool(memory.told), "the first try")
    memory.put(2, due=time.time() + 600)
    memory.close()
    assert numbers(road) == [1, 1]
    assert memory.ends == [(1, State.DEAD, "lost at exit"), (2, State.DEAD, "lost at exit")]
    assert "2 letter(s) are lost" in caplog.text
    assert len(memory.backlog.space) == 0


def test_an_answer_that_did_not_come_by_the_end_is_unknown(gate: Gate) -> None:
    memory = Memory(road := Road(gate), drain_timeout=0.01)
    memory.put(1)
    wait_until(lambda: road.in_hand == 1, "the try")
    memory.close()
    [(_, report, plan)] = memory.told
    assert (plan.state, plan.reason) == (State.DEAD, "lost at exit")
    assert [outcome.kind for _, outcome in report] == [Kind.UNKNOWN]


def test_whoever_waits_for_room_at_the_end_is_told(gate: Gate) -> None:
    memory = Memory(Road(gate), BacklogSettings(letters=1), drain_timeout=0.01)
    memory.put(1)
    waiting = memory.put(2, wait=True)
    memory.close()
    with pytest.raises(BacklogFullError):
        waiting.result(20)  # type: ignore[attr-defined]


def test_what_is_left_is_stored_for_those_who_have_not_got_it() -> None:
    async def half(letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        return Report({one: BUSY if one[0] == "b" else ACCEPTED for one in to})

    stored: list[tuple[Letter, Terms]] = []
    memory = Memory(Road(half), policy=LATE, store=stored.extend)
    memory.backlog.put([(letter(1, "a@example.org", "b@example.org"), Terms())], wait=False)
    memory.close()
    assert [(one.id, one.envelope_to) for one, _ in stored] == [(letter(1).id, ("b@example.org",))]
    assert memory.ends == []


def test_what_must_not_arrive_twice_is_not_stored_once_its_content_may_have_left(
    gate: Gate,
) -> None:
    stored: list[tuple[Letter, Terms]] = []
    memory = Memory(road := Road(gate), store=stored.extend, drain_timeout=0.01)
    memory.put(1, guarantee="at_most_once")
    memory.put(2)
    wait_until(lambda: road.in_hand == 2, "the tries")
    memory.close()
    assert [int(one.id, 16) for one, _ in stored] == [2]
    assert memory.ends == [(1, State.DEAD, "lost at exit")]


def test_what_the_outbox_does_not_take_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    def full(batch: Batch) -> None:
        raise OutboxError("the disk is full")

    memory = Memory(Road(), store=full)
    memory.put(1, due=time.time() + 600)
    memory.close()
    assert memory.ends == [(1, State.DEAD, "lost at exit")]
    assert "the disk is full" in caplog.text


def test_nothing_is_said_at_the_end_where_nothing_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    memory = Memory(Road())
    memory.put(1)
    memory.close()
    memory.close()
    assert caplog.text == ""


def test_it_goes_on_where_it_is_used_after_its_end() -> None:
    memory = Memory(road := Road())
    memory.put(1)
    memory.close()
    memory.put(2)
    memory.close()
    assert numbers(road) == [1, 2]


def test_no_thread_runs_before_the_first_letter() -> None:
    before = threading.active_count()
    memory = Memory(Road())
    assert len(memory.backlog.space) == 0
    memory.close()
    assert threading.active_count() == before
