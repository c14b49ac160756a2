"""The watcher that sends the signals: an application's own code hears of each try."""

from __future__ import annotations

from collections.abc import Callable

from ..delivery.courier import Watcher
from ..mail.letter import Letter
from ..rules.outcomes import Report
from ..rules.retry import Plan
from ..rules.states import State
from ..signals import message_dead, message_deferred, message_sent, transport_paused


def announcer(sender: Callable[[], object | None]) -> Watcher:
    """A watcher that sends signals in the name of an application.

    :param sender: gives the application, or None once it is gone.
    """

    def announce(letter: Letter, report: Report, plan: Plan) -> None:
        app = sender()
        if plan.state is State.SENT:
            message_sent.send(app, letter=letter, report=report)
        elif plan.state is State.QUEUED:
            message_deferred.send(app, letter=letter, report=report, due=plan.due)
        else:
            message_dead.send(app, letter=letter, report=report, reason=plan.reason)
        if plan.pause:
            transport_paused.send(app, transport=report.transport, reason=plan.pause)

    return announce
