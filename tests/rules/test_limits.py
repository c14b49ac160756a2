"""Rates, lanes and breakers: what may go, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.errors import ConfigurationError
from flask_outbox.rules.limits import (
    LANE,
    SLOTS,
    WINDOWS,
    Breaker,
    Limit,
    Limits,
    Spent,
    Streak,
    concerns,
    give_back,
    left,
    opens,
    spend,
)
from flask_outbox.rules.outcomes import Kind, Outcome, Report, Scope

NOW = 1_700_000_000_000

LIMITS = st.builds(
    Limit, second=st.integers(1, 60), minute=st.none() | st.integers(1, 200), hour=st.none()
)


def everything(limit: Limit, spent: Spent, now: int) -> tuple[int, Spent]:
    """Send all that may go."""
    letters = left(limit, spent, now) or 0
    return letters, spend(limit, spent, now, letters) if letters else spent


# -- rates -----------------------------------------------------------------------------------------------------


def test_what_is_spent_is_there_again_when_its_window_is_over() -> None:
    limit = Limit(minute=5)
    spent = spend(limit, {}, NOW, 5)
    assert left(limit, spent, NOW) == 0
    assert opens(limit, spent, NOW) == NOW + 60_000
    assert left(limit, spent, NOW + 59_999) == 0
    assert left(limit, spent, NOW + 60_000) == 5


def test_of_several_windows_the_tightest_counts() -> None:
    limit = Limit(second=2, hour=3)
    spent = spend(limit, {}, NOW, 2)
    assert opens(limit, spent, NOW) == NOW + 1_000
    spent = spend(limit, spent, NOW + 1_000, 1)
    assert opens(limit, spent, NOW + 1_000) == NOW + 3_600_000


def test_while_something_may_go_it_is_open() -> None:
    assert opens(Limit(second=2), spend(Limit(second=2), {}, NOW, 1), NOW) is None


def test_connections_alone_are_no_rate() -> None:
    assert left(Limit(connections=2), {}, NOW) is None


def test_what_a_clock_that_was_ahead_has_spent_does_not_close_for_longer_than_a_window() -> None:
    limit = Limit(minute=1)
    spent = spend(limit, {}, NOW + 86_400_000, 1)
    assert opens(limit, spent, NOW) == NOW + 60_000


@given(LIMITS, st.lists(st.integers(0, 700), min_size=1, max_size=200))
def test_no_window_sees_more_than_its_limit(limit: Limit, gaps: list[int]) -> None:
    now, spent, sent = NOW, {}, []
    for gap in gaps:
        now += gap
        letters, spent = everything(limit, spent, now)
        sent.append((now, letters))
    for window, most in limit.rates.items():
        length = WINDOWS[window] * 1000
        for start, _ in sent:
            assert sum(n for at, n in sent if start <= at < start + length) <= most


@given(LIMITS, st.integers(0, 10_000))
def test_where_nothing_may_go_it_says_when_something_may(limit: Limit, later: int) -> None:
    _, spent = everything(limit, {}, NOW)
    now = NOW + later
    if (moment := opens(limit, spent, now)) is None:
        assert left(limit, spent, now)
    else:
        assert left(limit, spent, moment - 1) == 0
        assert left(limit, spent, moment)


@given(LIMITS, st.lists(st.integers(0, 700), min_size=1, max_size=50), st.data())
def test_no_token_is_lost_and_none_is_made(
    limit: Limit, gaps: list[int], data: st.DataObject
) -> None:
    now, spent, sent = NOW, {}, []
    for gap in gaps:
        now += gap
        letters, spent = everything(limit, spent, now)
        back = data.draw(st.integers(0, letters))
        spent = give_back(limit, spent, now, back) if back else spent
        sent.append((now, letters - back))
    for window in limit.rates:
        length = WINDOWS[window] * 1000
        kept = sum(n for _, n in spent.get(window, ()))
        assert kept >= sum(n for at, n in sent if at + length > now)
    # A window and a slot later, all of it is there.
    assert left(limit, spent, now + 63_000) == min(limit.rates.values())


@given(st.integers(1, 100_000), st.lists(st.integers(0, 40), max_size=100))
def test_what_is_remembered_of_a_window_is_short(most: int, gaps: list[int]) -> None:
    now, spent, limit = NOW, {}, Limit(second=most)
    for gap in gaps:
        now += gap
        if left(limit, spent, now):
            spent = spend(limit, spent, now, 1)
    assert len(spent.get("second", ())) <= SLOTS + 1


@pytest.mark.parametrize("given_", [{}, {"second": 0}, {"minute": 5, "connections": -1}])
def test_a_limit_limits_something_and_lets_something_through(given_: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="MAIL_LIMITS"):
        Limit(**given_)


# -- lanes -----------------------------------------------------------------------------------------------------

_GMAIL, _AOL = Limit(minute=60), Limit(connections=1)
_BOTH = Limits({"default": Limit(second=1)}, {"gmail.com": _GMAIL, "aol.com": _AOL})


def test_without_limits_of_domains_a_lane_is_a_transport() -> None:
    assert Limits().lane("default", ["me@gmail.com"]) == "default"


def test_a_letter_to_a_domain_with_a_limit_has_its_lane() -> None:
    assert _BOTH.lane("default", ["you@example.org", "me@GMAIL.com"]) == "default gmail.com"


def test_a_letter_to_several_of_them_is_on_the_lane_of_them_all() -> None:
    lane = _BOTH.lane("other", ["me@gmail.com", "me@aol.com", "you@gmail.com"])
    assert lane == "other aol.com gmail.com"
    assert _BOTH.of(lane) == {"other aol.com": _AOL, "other gmail.com": _GMAIL}


def test_a_lane_of_a_domain_has_the_limits_of_its_transport_too() -> None:
    assert list(_BOTH.of("default gmail.com")) == ["default", "default gmail.com"]


def test_a_domain_without_a_limit_any_more_limits_nothing() -> None:
    assert Limits().of("default gmail.com") == {}


def test_the_name_of_a_lane_fits_into_its_column() -> None:
    limits = Limits(domains={f"{'a' * 60}{number}.org": _AOL for number in range(9)})
    lane = limits.lane("default", [f"me@{domain}" for domain in limits.domains])
    assert LANE - 70 < len(lane) <= LANE


def test_what_is_under_way_on_the_lane_of_several_domains_counts_for_each() -> None:
    lane = "default aol.com gmail.com"
    assert [
        concerns(name, lane)
        for name in ("default", "default aol.com", "default x.org", "other aol.com")
    ] == [True, True, False, False]


# -- breakers --------------------------------------------------------------------------------------------------

_BROKEN = Report.of(["a@x.org"], Outcome(Kind.DEFERRED, Scope.TRANSPORT))
_REFUSED = Report.of(["a@x.org"], Outcome(Kind.REFUSED, Scope.RECIPIENT, code=550))


def test_failures_in_a_row_are_counted_on() -> None:
    assert Streak().then(_BROKEN).then(_BROKEN).after(3) == 5


def test_who_reaches_the_server_ends_the_row_even_if_it_refuses() -> None:
    assert Streak().then(_BROKEN).then(_REFUSED).then(_BROKEN) == Streak(True, 1)
    assert Streak(True, 1).after(9) == 1


def test_one_recipient_that_is_taken_is_a_success() -> None:
    outcomes = {**_BROKEN.outcomes, "b@x.org": Outcome(Kind.ACCEPTED)}
    assert Streak().then(Report(outcomes)) == Streak(True, 0)


def test_what_was_not_tried_says_nothing() -> None:
    assert Streak(failures=2).then(Report()) == Streak(failures=2)


@pytest.mark.parametrize("given_", [(0, 30.0), (5, 0.0)])
def test_a_breaker_needs_a_number_and_a_time(given_: tuple[int, float]) -> None:
    with pytest.raises(ConfigurationError, match="MAIL_BREAKER"):
        Breaker(*given_)
