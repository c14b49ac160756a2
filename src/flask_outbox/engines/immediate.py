"""The immediate engine: sends in the caller's thread's time, over the pooled loop, and raises."""

from __future__ import annotations

from collections.abc import Sequence

from ..delivery.courier import Watcher
from ..delivery.process import Process
from ..errors import DeliveryError
from ..mail.letter import Letter, Terms
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

        :raises DeliveryError: a recipient did not get it; the report has one outcome each.
        """
        return [self._send(letter, terms) for letter, terms in batch]

    def close(self) -> None:
        """End this process's threads."""
        self._process.close()

    def _send(self, letter: Letter, terms: Terms) -> Receipt:
        report = self._process.carry(letter, letter.envelope_to, terms.transport)
        plan = settle(report)
        for watcher in self._watchers:
            watcher(letter, report, plan)
        if not report.all_accepted:
            failed = [f"{to}: {outcome}" for to, outcome in report if not outcome.accepted]
            raise DeliveryError("; ".join(failed), report)
        return Receipt(letter.id, letter.message_id, str(plan.state), durable=False)
