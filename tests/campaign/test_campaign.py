"""A short campaign on each database; ``./dev campaign`` fights the long ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign.campaign import Campaign, Outcome, Plan, seed_of_today
from servers.plugin import require


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "workers"), [("sqlite", 2), ("postgresql", 2), ("mariadb", 2)])
def test_nothing_is_lost_or_finished_twice_and_little_is_repeated(
    kind: str, workers: int, tmp_path: Path
) -> None:
    if kind != "sqlite":
        require({"postgresql": "postgres", "mariadb": "mariadb"}[kind])
    outcome = Campaign(Plan(kind, workers, kills=5, seed=seed_of_today()), tmp_path).fight()
    assert outcome.kept, outcome


def test_a_broken_promise_is_noticed() -> None:
    plan = Plan("sqlite", 1, kills=1, seed=0)
    kept = Outcome(plan, accepted=10)
    assert kept.kept
    for broken in ("lost", "finished_twice", "repeated", "differing", "left"):
        outcome = Outcome(plan, accepted=10)
        setattr(outcome, broken, 1)
        assert not outcome.kept
