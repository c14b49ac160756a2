"""The immediate engine: sends in the caller's thread's time, over the pooled loop, and raises."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from contextvars import Context, copy_context

from ..delivery.courier import Watcher
from ..delivery.process import WATCH, Process
from ..delivery.telling import tell
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

    def begin(self, batch: Sequence[tuple[Letter, Terms]]) -> Future[list[Receipt]]:
        """Send each letter once; the watchers are told by a thread of their own."""
        return self._process.spawn(self._send_all(batch, copy_context()))

    def _send(self, letter: Letter, terms: Terms) -> Receipt:
        report = _refused(letter, terms) or self._process.carry(
            letter, letter.envelope_to, terms.transport, terms.url
        )
        return self._settle(letter, report)

    async def _send_all(
        self, batch: Sequence[tuple[Letter, Terms]], context: Context
    ) -> list[Receipt]:
        receipts, telling = [], self._process.thread(WATCH)
        for letter, terms in batch:
            report = _refused(letter, terms) or await self._process.carry_async(
                letter, letter.envelope_to, terms.transport, terms.url
            )
            receipts.append(await telling.run(context.run, self._settle, letter, report))
        return receipts

    def _settle(self, letter: Letter, report: Report) -> Receipt:
        plan = settle(report)
        tell(self._watchers, nullcontext, [(letter, report, plan)])
        if not report.all_accepted:
            from .smtplib_errors import delivery_error

            raise delivery_error(letter, report)
        return Receipt(letter.id, letter.message_id, str(plan.state), durable=False)


def _refused(letter: Letter, terms: Terms) -> Report | None:
    """The report where it must not be sent: nothing is stored here that could wait for a person."""
    if not terms.hold:
        return None
    return Report.of(letter.envelope_to, Outcome(Kind.REFUSED, Scope.MESSAGE, text=terms.hold))
