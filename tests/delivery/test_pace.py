"""The cap on how many letters a second are started."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.delivery.pace import Pace, Speed


def test_without_a_rate_there_is_no_cap() -> None:
    assert Pace(None, 0.0).allowance(0.0) == math.inf


def test_half_a_seconds_worth_is_saved_up_at_most() -> None:
    pace = Pace(200, 0.0)
    assert pace.allowance(1000.0) == 100


def test_a_rate_below_two_a_second_still_lets_one_go() -> None:
    pace = Pace(0.5, 0.0)
    assert pace.allowance(0.0) == 1
    pace.take(1)
    assert pace.allowance(1.0) == 0
    assert pace.allowance(2.0) == 1


@given(st.floats(1, 1000), st.lists(st.floats(0, 2), min_size=1, max_size=50))
def test_no_stretch_of_time_sees_more_than_its_share_and_what_was_saved(
    rate: float, gaps: list[float]
) -> None:
    pace, now, taken = Pace(rate, 0.0), 0.0, 0
    for gap in gaps:
        now += gap
        letters = int(pace.allowance(now))
        pace.take(letters)
        taken += letters
    assert taken <= now * rate + max(1, rate / 2) + 1e-6


def test_speed_is_what_was_counted_in_the_last_window() -> None:
    speed = Speed(0.0)
    for _ in range(10):
        speed.count()
    assert speed.per_second(0.01) == 0
    assert speed.per_second(0.1) == 100
    assert speed.per_second(0.12) == 100
    assert speed.per_second(1.1) == 0
