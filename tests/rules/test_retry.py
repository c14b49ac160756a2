"""What follows from a try."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.rules.outcomes import Kind, Outcome, Phase, Report, Scope
from flask_outbox.rules.retry import AT_MOST_ONCE, Plan, RetryPolicy, Standing, decide, settle
from flask_outbox.rules.states import RecipientState, State

POLICY = RetryPolicy()
NOW = 1_000_000.0

ACCEPTED = Outcome(Kind.ACCEPTED, code=250)
DEFERRED = Outcome(Kind.DEFERRED, code=451)
REFUSED = Outcome(Kind.REFUSED, code=550)
LOST = Outcome(Kind.UNKNOWN, Scope.TRANSPORT, Phase.AFTER)
WRONG_PASSWORD = Outcome(Kind.REFUSED, Scope.ACCOUNT, code=535, text="bad password")
NO_ROAD = Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="connection refused")


def plan(
    outcomes: dict[str, Outcome],
    *,
    attempts: int = 0,
    created: float = NOW,
    expires: float | None = None,
    guarantee: str = "at_least_once",
    finished: dict[str, RecipientState] | None = None,
) -> Plan:
    standing = Standing(attempts, created, expires, guarantee, finished or {})
    return decide(Report(outcomes), standing=standing, now=NOW, policy=POLICY, rng=lambda: 0.5)


@pytest.mark.parametrize(
    ("outcomes", "state", "open_"),
    [
        ({"a": ACCEPTED}, State.SENT, ()),
        ({"a": REFUSED}, State.DEAD, ()),
        ({"a": ACCEPTED, "b": REFUSED}, State.SENT, ()),
        ({"a": ACCEPTED, "b": DEFERRED}, State.QUEUED, ("b",)),
        ({"a": REFUSED, "b": DEFERRED}, State.QUEUED, ("b",)),
        ({"a": LOST}, State.QUEUED, ("a",)),
        ({"a": NO_ROAD, "b": NO_ROAD}, State.QUEUED, ("a", "b")),
        ({"a": WRONG_PASSWORD}, State.QUEUED, ("a",)),
    ],
)
def test_the_outcomes_of_a_try_give_its_state_and_who_is_still_open(
    outcomes: dict[str, Outcome], state: State, open_: tuple[str, ...]
) -> None:
    found = plan(outcomes)
    assert (found.state, found.open) == (state, open_)


def test_a_wrong_password_pauses_the_transport_and_burns_no_attempt() -> None:
    found = plan({"a": WRONG_PASSWORD}, attempts=3)
    assert found.pause == "535 bad password"
    assert not found.counts


def test_what_a_pause_holds_is_due_as_soon_as_it_is_lifted() -> None:
    assert plan({"a": WRONG_PASSWORD}, attempts=3).due == NOW


def test_a_lost_answer_with_at_most_once_waits_for_a_person() -> None:
    found = plan({"a": LOST}, guarantee=AT_MOST_ONCE)
    assert found.state is State.UNCERTAIN
    assert found.finished["a"] == (RecipientState.UNCERTAIN, LOST)


def test_what_an_earlier_try_accepted_makes_the_delivery_sent() -> None:
    found = plan({"b": REFUSED}, finished={"a": RecipientState.ACCEPTED})
    assert found.state is State.SENT


def test_nothing_tried_is_due_at_once_and_counts_nothing() -> None:
    found = plan({})
    assert (found.state, found.due, found.counts) == (State.QUEUED, NOW, False)


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(0, 30), (1, 120), (2, 480), (7, 21_600), (40, 21_600)]
)
def test_the_schedule_grows_and_then_repeats_its_last_step(attempts: int, seconds: float) -> None:
    found = plan({"a": DEFERRED}, attempts=attempts)
    assert found.due == NOW + seconds


def test_the_other_side_may_ask_for_more_time_than_the_schedule() -> None:
    asked = Outcome(Kind.DEFERRED, code=451, retry_after=900)
    assert plan({"a": asked}).due == NOW + 900


def test_a_letter_older_than_its_lifetime_is_dead_as_expired() -> None:
    found = plan({"a": DEFERRED}, created=NOW - POLICY.lifetime)
    assert (found.state, found.reason) == (State.DEAD, "expired")
    assert found.finished["a"][0] is RecipientState.REFUSED


def test_an_own_expiry_is_obeyed() -> None:
    assert plan({"a": DEFERRED}, expires=NOW + 29).state is State.DEAD
    assert plan({"a": DEFERRED}, expires=NOW + 31).state is State.QUEUED


def test_without_a_second_try_whatever_is_not_accepted_is_over() -> None:
    assert settle(Report({"a": ACCEPTED})).state is State.SENT
    assert settle(Report({"a": DEFERRED})).state is State.DEAD
    assert settle(Report({"a": LOST})).state is State.UNCERTAIN


outcomes = st.builds(
    Outcome,
    kind=st.sampled_from(Kind),
    scope=st.sampled_from(Scope),
    phase=st.sampled_from(Phase),
    retry_after=st.none() | st.floats(0, 1e6),
)
reports = st.dictionaries(st.sampled_from("abcdef"), outcomes, min_size=1)


@given(
    reports,
    st.integers(0, 50),
    st.floats(0, NOW),
    st.sampled_from(["at_least_once", AT_MOST_ONCE]),
    st.floats(0, 1, exclude_max=True),
)
def test_nobody_is_forgotten_and_only_a_queued_delivery_has_a_next_try(
    report: dict[str, Outcome], attempts: int, created: float, guarantee: str, chance: float
) -> None:
    standing = Standing(attempts, created, None, guarantee)
    found = decide(Report(report), standing=standing, now=NOW, policy=POLICY, rng=lambda: chance)
    assert set(found.finished) | set(found.open) == set(report)
    assert not set(found.finished) & set(found.open)
    assert (found.state is State.QUEUED) == bool(found.open) == (found.due is not None)
    assert found.due is None or (found.due == NOW if found.pause else found.due > NOW)
    for to, (state, outcome) in found.finished.items():
        assert outcome is report[to]
        assert (state is RecipientState.ACCEPTED) == outcome.accepted


@given(st.integers(1, 60), st.floats(0, 1, exclude_max=True))
def test_the_jitter_stays_within_its_share(attempts: int, chance: float) -> None:
    plain = RetryPolicy(jitter=0).delay(attempts, lambda: chance)
    assert 0.8 * plain <= POLICY.delay(attempts, lambda: chance) <= 1.2 * plain


# -- schedules -------------------------------------------------------------------------------------------------

GENERAL, SLOW, QUICK, FULL = (30.0,), (900.0,), (5.0, 10.0), (3_600.0,)

SCHEDULES = RetryPolicy(
    GENERAL,
    jitter=0,
    of_transports={"bulk": SLOW},
    of_outcomes={"transport": QUICK, "4.2.2": FULL, "4.2": SLOW, "452": FULL, "unknown": SLOW},
)


def wait(
    *outcomes: Outcome,
    attempts: int = 0,
    transport: str = "default",
    delays: tuple[float, ...] | None = None,
) -> float | None:
    """Seconds until the next try."""
    standing = Standing(attempts, NOW, transport=transport, delays=delays)
    report = Report({str(number): outcome for number, outcome in enumerate(outcomes)})
    found = decide(report, standing=standing, now=NOW, policy=SCHEDULES, rng=lambda: 0.5)
    return None if found.due is None else found.due - NOW


@pytest.mark.parametrize(
    ("outcome", "seconds"),
    [
        (DEFERRED, 30),
        (NO_ROAD, 5),
        (Outcome(Kind.DEFERRED, code=452, enhanced="4.2.2"), 3_600),
        (Outcome(Kind.DEFERRED, code=450, enhanced="4.2.1"), 900),
        (Outcome(Kind.DEFERRED, code=452), 3_600),
        (LOST, 900),
    ],
)
def test_the_closest_word_for_an_outcome_gives_the_schedule(
    outcome: Outcome, seconds: float
) -> None:
    assert wait(outcome) == seconds


def test_a_transport_has_a_schedule_of_its_own_where_the_outcome_has_none() -> None:
    assert wait(DEFERRED, transport="bulk") == 900
    assert wait(NO_ROAD, transport="bulk") == 5


def test_where_outcomes_differ_the_one_that_is_due_first_counts() -> None:
    full = Outcome(Kind.DEFERRED, code=452, enhanced="4.2.2")
    assert wait(full, DEFERRED) == 30


def test_a_messages_own_schedule_goes_before_all_others() -> None:
    assert [wait(NO_ROAD, attempts=tries, delays=(1, 2)) for tries in range(3)] == [1, 2, 2]


def test_a_message_with_no_delays_is_tried_once_and_did_not_expire() -> None:
    standing = Standing(0, NOW, delays=())
    found = decide(
        Report({"a": DEFERRED}), standing=standing, now=NOW, policy=POLICY, rng=lambda: 0.5
    )
    assert (found.state, found.reason, found.due) == (State.DEAD, "deferred", None)


def test_who_asks_to_wait_is_obeyed_by_a_messages_own_schedule_too() -> None:
    assert wait(Outcome(Kind.DEFERRED, code=451, retry_after=600), delays=(1,)) == 600
