"""A result: what came of a claim, written down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from ..rules.outcomes import Kind, Report
from ..rules.retry import Plan
from ..rules.states import ENDED, RecipientState
from .claims import Claim
from .driver import Line
from .rows import Row, clip, document, millis
from .statements import Statements
from .tables import TEXT

#: How much of a transcript is kept, in characters.
TRANSCRIPT = 8_000

#: Which of several outcomes stands for a try.
_WORST = (Kind.UNKNOWN, Kind.REFUSED, Kind.DEFERRED, Kind.ACCEPTED)


@dataclass(frozen=True, slots=True)
class Finished:
    """What came of a claim. Times are Unix seconds."""

    claim: Claim
    report: Report
    plan: Plan
    started: float
    finished: float

    def result_row(self, now: int) -> Row:
        """How the delivery goes on, or ends."""
        plan = self.plan
        return {
            **self.claim.guard,
            "state": plan.state,
            "reason": clip(plan.reason, 200),
            "due": now if plan.due is None else millis(plan.due),
            "counted": int(plan.counts),
            "finished": now if plan.state in ENDED else None,
        }

    def answer_rows(self) -> Iterator[Row]:
        """What is now known of each recipient that the try or the plan speaks of."""
        for position, address in enumerate(self.claim.letter.envelope_to):
            state, outcome = self.plan.finished.get(address, (RecipientState.OPEN, None))
            outcome = outcome or self.report.outcomes.get(address)
            if outcome is not None and address in self.claim.recipients:
                yield {
                    "letter_id": self.claim.letter.id,
                    "position": position,
                    "state": state,
                    "code": outcome.code,
                    "enhanced": clip(outcome.enhanced, 16),
                    "text": clip(outcome.text, TEXT),
                    "remote_id": clip(outcome.remote_id, 200) or None,
                }

    def attempt_row(self, *, lost: bool) -> Row:
        """The record of the try.

        :param lost: the lease had ended before the result came.
        """
        claim, outcomes = self.claim, self.report.outcomes
        worst = min(outcomes.values(), key=lambda outcome: _WORST.index(outcome.kind))
        differ = any(outcome != worst for outcome in outcomes.values())
        return {
            "letter_id": claim.letter.id,
            "part": claim.part,
            "number": claim.attempts + 1,
            "started": millis(self.started),
            "finished": millis(self.finished),
            "transport": self.report.transport or claim.transport,
            "worker_id": claim.worker,
            "kind": worst.kind.value,
            "scope": worst.scope.value,
            "phase": worst.phase.value,
            "code": worst.code,
            "enhanced": clip(worst.enhanced, 16),
            "text": clip(worst.text, TEXT),
            "lease_lost": lost,
            "outcomes": document({to: asdict(o) for to, o in outcomes.items()}) if differ else None,
            "transcript": clip(self.report.transcript, TRANSCRIPT) or None,
        }


def record(line: Line, sql: Statements, results: Sequence[Finished], now: int) -> set[int]:
    """Write results down; of those whose lease is lost, only that there was a try.

    :returns: the deliveries that were still held.
    """
    held = _finish(line, sql, results, now)
    ours = [result for result in results if result.claim.delivery_id in held]
    if ours:
        answers = [row for result in ours for row in result.answer_rows()]
        sql.answer(line, rows=document(answers), now=now)
    again = [result.claim for result in results if result.report and result.claim.tried]
    if again:
        which = [{"letter_id": claim.letter.id, "part": claim.part} for claim in again]
        sql.drop_transcripts(line, rows=document(which))
    tries = [
        result.attempt_row(lost=result.claim.delivery_id not in held)
        for result in results
        if result.report
    ]
    if not sql.at_once:
        sql.insert_attempt.many(line, tries)
    elif tries:
        sql.insert_attempts(line, rows=document(tries))
    return held


def _finish(line: Line, sql: Statements, results: Sequence[Finished], now: int) -> set[int]:
    """How the deliveries go on.

    :returns: those that were still held; nothing else is changed.
    """
    ends = [result.result_row(now) for result in results]
    if sql.at_once:
        return {row.id for row in sql.finish(line, rows=document(ends))}
    asked = document([result.claim.guard for result in results])
    held = {row.id for row in sql.held(line, rows=asked)}
    if ours := [row for row in ends if row["id"] in held]:
        sql.finish(line, rows=document(ours))
    return held
