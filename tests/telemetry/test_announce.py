"""The signals that an application's own code hears."""

from __future__ import annotations

from typing import Any

import pytest
from blinker import NamedSignal

from delivery.conftest import ACCEPTED, letter
from flask_outbox.rules.outcomes import Kind, Outcome, Report
from flask_outbox.rules.retry import Plan
from flask_outbox.rules.states import State
from flask_outbox.signals import message_dead, message_deferred, message_sent, transport_paused
from flask_outbox.telemetry.announce import announcer

LETTER = letter(1)
REPORT = Report({"user1@example.org": ACCEPTED}, "default")
APP = object()


@pytest.mark.parametrize(
    ("plan", "signal", "extra"),
    [
        (Plan(State.SENT), message_sent, {}),
        (Plan(State.QUEUED, due=5.0), message_deferred, {"due": 5.0}),
        (Plan(State.DEAD, "refused"), message_dead, {"reason": "refused"}),
    ],
)
def test_each_end_of_a_try_has_its_signal(
    plan: Plan, signal: NamedSignal, extra: dict[str, Any]
) -> None:
    heard: list[tuple[object, dict[str, Any]]] = []

    def hear(sender: object, **facts: Any) -> None:
        heard.append((sender, facts))

    with signal.connected_to(hear):
        announcer(lambda: APP)(LETTER, REPORT, plan)
    assert heard == [(APP, {"letter": LETTER, "report": REPORT, **extra})]


def test_a_paused_transport_is_named() -> None:
    heard: list[tuple[str, str]] = []

    def hear(sender: object, transport: str, reason: str) -> None:
        heard.append((transport, reason))

    report = Report({"user1@example.org": Outcome(Kind.REFUSED, code=535)}, "default")
    with transport_paused.connected_to(hear):
        announcer(lambda: APP)(LETTER, report, Plan(State.QUEUED, due=5.0, pause="535"))
    assert heard == [("default", "535")]
