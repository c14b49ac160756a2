"""The tables of states."""

from __future__ import annotations

from itertools import combinations

import pytest

from flask_outbox.rules.states import (
    ATTENTION,
    LIVE,
    TRANSITIONS,
    RecipientState,
    State,
    ends_as,
    shown,
)


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(State)


def test_a_delivery_is_live_or_over_or_waits_for_a_person() -> None:
    assert set(LIVE) | set(ATTENTION) | {State.SENT, State.CANCELLED} == set(State)
    assert not set(LIVE) & set(ATTENTION)


def test_whatever_waits_for_a_person_can_be_tried_again() -> None:
    assert all(State.QUEUED in TRANSITIONS[state] for state in ATTENTION)


@pytest.mark.parametrize(
    ("state", "due", "attempts", "reason", "refused", "word"),
    [
        ("queued", 0, 0, "", 0, "queued"),
        ("queued", 20, 0, "", 0, "scheduled"),
        ("queued", 20, 1, "", 0, "retrying"),
        ("sent", 0, 1, "", 0, "sent"),
        ("sent", 0, 1, "", 2, "partly sent"),
        ("dead", 0, 3, "expired", 1, "expired"),
        ("dead", 0, 3, "refused", 1, "dead"),
        ("cancelled", 0, 0, "suppressed", 0, "suppressed"),
    ],
)
def test_a_person_sees_the_word_that_tells_most(
    state: str, due: float, attempts: int, reason: str, refused: int, word: str
) -> None:
    found = shown(state, due=due, now=10, attempts=attempts, reason=reason, refused=refused)
    assert found == word


def test_an_uncertain_recipient_makes_the_delivery_uncertain_whatever_the_others_are() -> None:
    over = [state for state in RecipientState if state is not RecipientState.OPEN]
    for size in range(1, len(over) + 1):
        for states in combinations(over, size):
            uncertain = RecipientState.UNCERTAIN in states
            assert (ends_as(states) is State.UNCERTAIN) == uncertain
