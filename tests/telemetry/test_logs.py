"""One line a try, and one for each recipient that was not reached."""

from __future__ import annotations

import logging

import pytest

from delivery.conftest import ACCEPTED, letter
from flask_outbox.rules.outcomes import Kind, Outcome, Report, Scope
from flask_outbox.rules.retry import Plan
from flask_outbox.rules.states import State
from flask_outbox.telemetry.logs import delivery_logger

LETTER = letter(1, "a@example.org", "b@example.org")
WRONG = Outcome(Kind.REFUSED, Scope.ACCOUNT, code=535, text="no")


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_what_went_well_is_one_line_at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    delivery_logger(debug=lambda: False)(
        LETTER, Report.of(LETTER.envelope_to, ACCEPTED), Plan(State.SENT)
    )
    assert lines(caplog) == [("INFO", f"letter {LETTER.id}: sent")]


def test_a_refused_recipient_is_never_silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    refused = Outcome(Kind.REFUSED, code=550, enhanced="5.1.1", text="No such user")
    report = Report({"a@example.org": ACCEPTED, "b@example.org": refused})
    delivery_logger(debug=lambda: False)(LETTER, report, Plan(State.SENT))
    assert lines(caplog)[1] == (
        "WARNING",
        f"letter {LETTER.id} to b@example.org: refused: 550 5.1.1 No such user",
    )


@pytest.mark.parametrize(("debug", "level"), [(False, "WARNING"), (True, "ERROR")])
def test_a_beginner_sees_a_failure_as_an_error_with_its_cure(
    caplog: pytest.LogCaptureFixture, debug: bool, level: str
) -> None:
    report = Report({"a@example.org": WRONG})
    delivery_logger(debug=lambda: debug)(LETTER, report, Plan(State.QUEUED, "refused", 1.0))
    assert {found for found, _ in lines(caplog)} == {level}
    assert "MAIL_PASSWORD" in lines(caplog)[1][1]


def test_what_is_dead_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    report = Report({"a@example.org": Outcome(Kind.REFUSED, code=550)})
    delivery_logger(debug=lambda: False)(LETTER, report, Plan(State.DEAD, "refused"))
    assert lines(caplog)[0] == ("ERROR", f"letter {LETTER.id}: dead (refused)")
