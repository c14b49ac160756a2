"""A short campaign against a task queue; ``./dev campaign --engine celery`` fights the long ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign.campaign import seed_of_today
from campaign.tasks import CHILDREN, TaskCampaign, TaskOutcome, TaskPlan
from servers.plugin import require

#: Few of each.
SHORT = {"child": 1, "worker": 1, "restart": 1, "flush": 1}


def plan(broker: str, messages: int) -> TaskPlan:
    more = {"engine": "celery", "broker": broker, "messages": messages}
    return TaskPlan("sqlite", CHILDREN, SHORT, seed_of_today(), **more)


@pytest.mark.timeout(300)
def test_nothing_is_lost_and_little_is_repeated(tmp_path: Path) -> None:
    require("redis")
    outcome = TaskCampaign(plan("redis", 200), tmp_path).fight()
    assert outcome.kept, outcome
    assert outcome.strikes == SHORT


def test_a_broken_promise_is_noticed() -> None:
    kept = TaskOutcome(plan("redis", 10), accepted=10)
    assert kept.kept
    for broken in ("lost", "finished_twice", "repeated", "differing", "unsaid", "left"):
        outcome = TaskOutcome(plan("redis", 10), accepted=10)
        setattr(outcome, broken, 1)
        assert not outcome.kept
