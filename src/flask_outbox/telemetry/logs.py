"""The watcher that logs deliveries; no other file does."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..delivery.courier import Watcher
from ..mail.letter import Letter
from ..rules.outcomes import Report
from ..rules.retry import Plan
from ..rules.states import State
from .cures import cure

logger = logging.getLogger("flask_outbox")

_LEVELS = {State.SENT: logging.INFO, State.QUEUED: logging.WARNING}


def delivery_logger(*, debug: Callable[[], bool]) -> Watcher:
    """A watcher that writes one line a try, and one more for each recipient that was not reached.

    :param debug: whether a failure that will be tried again counts as an error: a beginner must see it.
    """

    def log(letter: Letter, report: Report, plan: Plan) -> None:
        level = _LEVELS.get(plan.state, logging.ERROR)
        if level == logging.WARNING and debug():
            level = logging.ERROR
        logger.log(level, "letter %s: %s%s", letter.id, plan.state, _because(plan))
        for to, outcome in report:
            if outcome.left_out:
                options = " ".join(outcome.left_out)
                logger.warning(
                    "letter %s to %s: left out for the server: %s", letter.id, to, options
                )
            if not outcome.accepted:
                logger.log(
                    max(level, logging.WARNING),
                    "letter %s to %s: %s: %s%s",
                    letter.id,
                    to,
                    outcome.kind,
                    outcome,
                    cure(outcome, prefix=" -- "),
                )

    return log


def _because(plan: Plan) -> str:
    return f" ({plan.reason})" if plan.reason else ""
