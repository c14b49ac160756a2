"""When a letter goes on to the next road, and which roads are left alone for a while."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.rules.outcomes import Kind, Outcome, Phase, Scope
from flask_outbox.rules.roads import (
    FIRST,
    MOST,
    Rests,
    hopeful,
    is_of_the_road,
    passes_on,
)

DOWN = Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="connection refused")
LOCKED_OUT = Outcome(Kind.REFUSED, Scope.ACCOUNT, code=535)

EVERYTHING = list(product(Kind, Scope, Phase))

#: All that passes a letter on; everything else does not.
PASSING = {
    (kind, scope, Phase.BEFORE)
    for kind in (Kind.DEFERRED, Kind.REFUSED)
    for scope in (Scope.TRANSPORT, Scope.ACCOUNT)
}


@pytest.mark.parametrize("facts", EVERYTHING, ids="-".join)
def test_only_a_failure_of_the_road_before_the_final_dot_passes_on(
    facts: tuple[Kind, Scope, Phase],
) -> None:
    assert passes_on(Outcome(*facts)) is (facts in PASSING)


@pytest.mark.parametrize("facts", EVERYTHING, ids="-".join)
def test_what_passes_on_was_the_roads_fault(facts: tuple[Kind, Scope, Phase]) -> None:
    outcome = Outcome(*facts)
    assert is_of_the_road(outcome) or not passes_on(outcome)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (DOWN, LOCKED_OUT),
        (DOWN, Outcome(Kind.DEFERRED, Scope.TRANSPORT, retry_after=300)),
        (Outcome(Kind.DEFERRED, Scope.TRANSPORT, retry_after=300), LOCKED_OUT),
    ],
)
def test_of_two_failures_the_one_that_heals_sooner_stands(better: Outcome, worse: Outcome) -> None:
    assert hopeful(better, worse) is better
    assert hopeful(worse, better) is better


# -- what is set aside -------------------------------------------------------------------------------------------


def test_roads_that_are_well_keep_their_order() -> None:
    assert Rests().order(["a", "b", "c"], 0.0) == ["a", "b", "c"]


def test_one_that_failed_comes_after_those_that_are_well_for_a_while() -> None:
    rests = Rests()
    assert rests.failed("a", DOWN, 100.0) == FIRST
    assert rests.order(["a", "b"], 100.0 + FIRST - 1) == ["b", "a"]
    assert rests.order(["a", "b"], 100.0 + FIRST) == ["a", "b"]


def test_letters_that_fail_together_count_as_one_failure() -> None:
    rests = Rests()
    rests.failed("a", DOWN, 0.0)
    assert [rests.failed("a", DOWN, 1.0) for _ in range(9)] == [0.0] * 9
    assert rests.order(["a", "b"], FIRST) == ["a", "b"]


def test_when_its_time_is_over_a_single_letter_tries_it() -> None:
    rests = Rests()
    rests.failed("a", DOWN, 0.0)
    rests.begin("a", FIRST)
    assert rests.order(["a", "b"], FIRST) == ["b", "a"]


def test_a_letter_that_tries_it_and_is_never_heard_of_does_not_keep_others_from_it() -> None:
    rests = Rests()
    rests.failed("a", DOWN, 0.0)
    rests.begin("a", FIRST)
    assert rests.order(["a", "b"], 2 * FIRST) == ["a", "b"]


def test_each_further_failure_sets_it_aside_twice_as_long_up_to_the_most() -> None:
    rests, now, found = Rests(), 0.0, []
    for _ in range(8):
        rests.begin("a", now)
        found.append(rests.failed("a", DOWN, now))
        now += found[-1]
    assert found == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0, 600.0]


def test_once_it_is_well_all_is_forgotten() -> None:
    rests = Rests()
    rests.failed("a", DOWN, 0.0)
    assert rests.well("a")
    assert not rests.well("a")
    assert rests.failed("a", DOWN, 1.0) == FIRST


def test_a_fault_of_the_account_sets_it_aside_for_long_at_once() -> None:
    assert Rests().failed("a", LOCKED_OUT, 0.0) == MOST


@pytest.mark.parametrize(("asked", "seconds"), [(5.0, FIRST), (900.0, 900.0), (1e9, 3_600.0)])
def test_a_road_that_says_when_to_come_back_is_believed_within_limits(
    asked: float, seconds: float
) -> None:
    outcome = Outcome(Kind.DEFERRED, Scope.TRANSPORT, retry_after=asked)
    assert Rests().failed("a", outcome, 0.0) == seconds


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from(["begin", "failed", "well"]),
            st.floats(0, 900),
        ),
        max_size=30,
    )
)
def test_whatever_happens_each_road_stays_a_choice_and_comes_back(
    happened: list[tuple[str, str, float]],
) -> None:
    rests, now = Rests(), 0.0
    for name, what, passed in happened:
        now += passed
        if what == "failed":
            rests.failed(name, DOWN, now)
        else:
            getattr(rests, what)(*([name, now] if what == "begin" else [name]))
        assert sorted(rests.order("abc", now)) == ["a", "b", "c"]
    assert rests.order("abc", now + MOST) == ["a", "b", "c"]
