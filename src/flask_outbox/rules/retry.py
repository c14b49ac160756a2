"""What follows from a try: who is finished, who is still open, and when the next try is due.

The rules, in order:

1. Accepted is final for that recipient; so is refused, where the recipient or the message was at fault.
2. Where the account is at fault (a wrong password, a sender not allowed) nothing is wrong with the mail: everyone
   stays open, no attempt is counted and the transport is to be paused.
3. An unknown outcome (content sent, answer lost) is tried again, since every copy is identical; with
   ``at_most_once`` it becomes uncertain and waits for a person.
4. What is deferred is tried again by the schedule, or later if the other side asked for it, until the delivery
   expires; then whoever is open counts as refused. The schedule is the message's own, else that of the outcome, else
   that of the transport, else the general one; where outcomes differ, the one that is due first.
5. A report without outcomes means that nothing was tried: due at once, nothing counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TypeAlias

from .outcomes import Kind, Outcome, Report, Scope
from .states import RecipientState, State, ends_as

AT_MOST_ONCE = "at_most_once"
AT_LEAST_ONCE = "at_least_once"

#: Seconds before the second, third, … try; the last ones repeat.
Delays: TypeAlias = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again.

    :param delays: seconds before the second, third, … try; the last one repeats.
    :param jitter: the share by which a delay is lengthened or shortened at random.
    :param lifetime: seconds after which a letter without its own expiry is no longer tried.
    :param of_transports: other delays, by the transport's name.
    :param of_outcomes: other delays, by an enhanced code or its beginning, a reply code, ``unknown``, or a scope.
    """

    delays: Delays = (30, 120, 480, 1_800, 3_600, 7_200, 14_400, 21_600)
    jitter: float = 0.2
    lifetime: float = 48 * 3_600
    of_transports: Mapping[str, Delays] = field(default_factory=dict)
    of_outcomes: Mapping[str, Delays] = field(default_factory=dict)

    def delay(
        self, attempts: int, rng: Callable[[], float], schedules: Iterable[Delays] = ()
    ) -> float:
        """Seconds to wait after that many counted attempts (1 or more).

        :param schedules: the shortest of which counts.
        """
        found = tuple(schedules) or (self.delays,)
        base = min(delays[min(attempts, len(delays)) - 1] for delays in found)
        return base * (1 + self.jitter * (2 * rng() - 1))

    def schedule(self, outcome: Outcome, transport: str) -> Delays:
        """The one for an outcome, of which the closest word for it counts."""
        if self.of_outcomes:
            for word in _words(outcome):
                if word in self.of_outcomes:
                    return self.of_outcomes[word]
        return self.of_transports.get(transport, self.delays)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a delivery before the try that is being decided.

    :param created: when it was accepted, Unix seconds.
    :param expires: when it is no longer wanted, Unix seconds, or None for the policy's lifetime.
    :param finished: the recipients that earlier tries have finished.
    :param transport: that it was tried on.
    :param delays: the message's own; none in it is no second try.
    """

    attempts: int
    created: float
    expires: float | None = None
    guarantee: str = AT_LEAST_ONCE
    finished: Mapping[str, RecipientState] = field(default_factory=dict)
    transport: str = ""
    delays: Delays | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written down after a try.

    :param finished: the recipients this try has finished, each with its state and outcome.
    :param open: the recipients a next try is for.
    :param due: when that is, Unix seconds; None when the delivery is over.
    :param counts: whether this try counts as an attempt.
    :param pause: why the transport is to be paused, or "". Watchers find there that its breaker has opened, too.
    """

    state: State
    reason: str = ""
    due: float | None = None
    finished: Mapping[str, tuple[RecipientState, Outcome]] = field(default_factory=dict)
    open: tuple[str, ...] = ()
    counts: bool = True
    pause: str = ""


def decide(
    report: Report,
    *,
    standing: Standing,
    now: float,
    policy: RetryPolicy,
    rng: Callable[[], float],
) -> Plan:
    """Turn a report into a plan.

    :param rng: gives a float in [0, 1), for the jitter.
    """
    if not report:
        return Plan(State.QUEUED, reason="not tried", due=now, counts=False)
    finished = {to: _finish(outcome, standing.guarantee) for to, outcome in report}
    open_ = tuple(to for to, state in finished.items() if state is RecipientState.OPEN)
    pause = next((str(o) for _, o in report if o.scope is Scope.ACCOUNT and not o.accepted), "")
    counts = not pause
    done = {to: (state, report.outcomes[to]) for to, state in finished.items() if to not in open_}
    if open_:
        attempts = standing.attempts + counts
        # A pause holds it until the cause is mended, and then it need not wait any more.
        due = now if pause else now + _wait(report, open_, attempts, standing, policy, rng)
        expires = (
            standing.expires if standing.expires is not None else standing.created + policy.lifetime
        )
        if due < expires:
            reason = _reason(report, open_)
            return Plan(State.QUEUED, reason, due, done, open_, counts, pause)
        done |= {to: (RecipientState.REFUSED, report.outcomes[to]) for to in open_}
    ended = ends_as([*standing.finished.values(), *(state for state, _ in done.values())])
    late = open_ and standing.delays != ()
    reason = "expired" if late else _reason(report, tuple(report.outcomes))
    return Plan(ended, "" if ended is State.SENT else reason, None, done, (), counts, pause)


def settle(report: Report) -> Plan:
    """The plan where there is no second try: the caller waits for the answer (the immediate engine)."""
    done = {to: (_finish(outcome, AT_MOST_ONCE), outcome) for to, outcome in report}
    done = {
        to: (RecipientState.REFUSED if state is RecipientState.OPEN else state, outcome)
        for to, (state, outcome) in done.items()
    }
    ended = ends_as(state for state, _ in done.values())
    return Plan(ended, "" if ended is State.SENT else _reason(report, tuple(done)), None, done)


def _finish(outcome: Outcome, guarantee: str) -> RecipientState:
    if outcome.kind is Kind.ACCEPTED:
        return RecipientState.ACCEPTED
    if outcome.kind is Kind.REFUSED and outcome.scope in (Scope.RECIPIENT, Scope.MESSAGE):
        return RecipientState.REFUSED
    if outcome.kind is Kind.UNKNOWN and guarantee == AT_MOST_ONCE:
        return RecipientState.UNCERTAIN
    return RecipientState.OPEN


def _wait(
    report: Report,
    open_: tuple[str, ...],
    attempts: int,
    standing: Standing,
    policy: RetryPolicy,
    rng: Callable[[], float],
) -> float:
    if standing.delays == ():
        return inf
    outcomes = [report.outcomes[to] for to in open_]
    asked = max(outcome.retry_after or 0 for outcome in outcomes)
    if standing.delays is not None:
        schedules = [standing.delays]
    else:
        schedules = [policy.schedule(outcome, standing.transport) for outcome in outcomes]
    return max(policy.delay(max(attempts, 1), rng, schedules), asked)


def _words(outcome: Outcome) -> tuple[str, ...]:
    """What an outcome can be called, the closest first."""
    unknown = "unknown" if outcome.kind is Kind.UNKNOWN else ""
    prefix = outcome.enhanced.rpartition(".")[0]
    return (outcome.enhanced, prefix, str(outcome.code), unknown, outcome.scope)


def _reason(report: Report, recipients: tuple[str, ...]) -> str:
    """The kind of the worst outcome, for lists; its text stands with the recipient."""
    order = (Kind.UNKNOWN, Kind.REFUSED, Kind.DEFERRED, Kind.ACCEPTED)
    kinds = {report.outcomes[to].kind for to in recipients}
    return str(next(kind for kind in order if kind in kinds))
