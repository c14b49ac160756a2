"""The immediate engine: sends in the caller's thread's time, over the pooled loop, and raises."""

from __future__ import annotations

from collections.abc import Sequence

from ..delivery.courier import Watcher
from ..delivery.process import Process
from ..mail.letter import Letter, Terms
from ..rules.outcomes import Kind, Outcome, Report, Scope
from ..rules.retry import settle
from .base import Engine, Receipt


class ImmediateEngine(Engine):
    """Blocks until the server has answered; nothing is stored.

    :param watchers: told of each try, in the caller's thread.
    """

    def __init__(self, process: Process, watchers: Sequence[Watcher]) -> None:
        self._process = process
        self._watchers = watchers

    def submit(self, batch: Sequence[tuple[Letter, Terms]]) -> list[Receipt]:
        """Send each letter once.

        :raises DeliveryError: a recipient did not get it; the report has one outcome each. It is also what smtplib
            would have raised.
        """
        return [self._send(letter, terms) for letter, terms in batch]

    def close(self) -> None:
        """End this process's threads."""
        self._process.close()

    def _send(self, letter: Letter, terms: Terms) -> Receipt:
        report = self._report(letter, terms)
        plan = settle(report)
        for watcher in self._watchers:
            watcher(letter, report, plan)
        if not report.all_accepted:
            from .smtplib_errors import delivery_error

            raise delivery_error(letter, report)
        return Receipt(letter.id, letter.message_id, str(plan.state), durable=False)

    def _report(self, letter: Letter, terms: Terms) -> Report:
        if terms.hold:  # nothing is stored here that could wait for a person
            refusal = Outcome(Kind.REFUSED, Scope.MESSAGE, text=terms.hold)
            return Report.of(letter.envelope_to, refusal)
        return self._process.carry(letter, letter.envelope_to, terms.transport)
