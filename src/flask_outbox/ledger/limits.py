"""Limits shared by all workers: what a claim may take of a lane, and what a try means for a transport's breaker.

A claim locks the rows of its limits first, so that two workers never spend the same token; what it did not take is
not spent, and what is given back untried is spent no more. A lane that has nothing left is marked with the moment at
which it opens, and the agenda passes over it until then.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from ..rules.limits import Breaker, Limits, Spent, Streak, concerns, give_back, left, opens, spend
from .claims import Claim
from .driver import Line
from .results import Finished
from .rows import document, millis, seconds
from .statements import Statements


@dataclass(slots=True)
class _Row:
    """Of ``mail_limit``, locked."""

    opens: int | None
    failures: int
    spent: Spent

    def stored(self, lane: str) -> dict[str, object]:
        spent = document(self.spent) if self.spent else None
        return {"lane": lane, "opens": self.opens, "failures": self.failures, "spent": spent}


@dataclass(frozen=True, slots=True)
class Shift:
    """A breaker that has opened or closed.

    :param until: when a letter tries again, Unix seconds; None where it has closed.
    """

    transport: str
    failures: int
    until: float | None


class LimitLedger:
    """The limits of one transaction.

    :param now: milliseconds.
    """

    def __init__(self, line: Line, sql: Statements, env: str, limits: Limits, now: int) -> None:
        self._line = line
        self._sql = sql
        self._env = env
        self._limits = limits
        self.now = now

    # -- claims ------------------------------------------------------------------------------------------------

    def enter(self, lane: str, *, failing: bool, until: int) -> Gate:
        """Ask how much may be claimed of a lane.

        :param failing: whether the last try over its transport failed.
        :param until: when the lease will end.
        """
        transport, breaker = lane.partition(" ")[0], self._limits.breaker
        found = self._limits.of(lane)
        rows = self._lock(_names(lane, found) | ({transport} if failing else set()))
        gate = Gate(self, lane, rows)
        if failing and breaker and rows[transport].failures >= breaker.failures:
            gate.try_one(rows[transport], until)
        for name, limit in found.items():
            gate.restrict(
                left(limit, rows[name].spent, self.now), opens(limit, rows[name].spent, self.now)
            )
        if any(limit.connections for limit in found.values()):
            asked = {"env": self._env, "transport": transport, "now": self.now}
            under_way = {row.lane: row.number for row in self._sql.under_way(self._line, **asked)}
            for name, limit in found.items():
                if limit.connections:
                    busy = sum(n for lane_, n in under_way.items() if concerns(name, lane_))
                    gate.restrict(limit.connections - busy, None)
        return gate

    def spend(self, rows: Mapping[str, _Row], lane: str, letters: int) -> None:
        """So many are claimed; whoever has nothing left opens later."""
        found = self._limits.of(lane)
        for name, limit in found.items():
            row = rows[name]
            if letters:
                row.spent = spend(limit, row.spent, self.now, letters)
            row.opens = _later(row.opens, opens(limit, row.spent, self.now))
        if found and lane in rows and lane not in found:
            rows[lane].opens = max(rows[name].opens or 0 for name in found) or None
        self._store(rows)

    def give_back(self, held: Sequence[Claim], failing: Iterable[str]) -> None:
        """Those were not tried."""
        untried = Counter((claim.lane, claim.since) for claim in held)
        names = [_names(lane, self._limits.of(lane)) for lane, _ in untried]
        rows = self._lock({claim.transport for claim in held}.intersection(failing).union(*names))
        for (lane, since), letters in untried.items():
            for name, limit in self._limits.of(lane).items():
                rows[name].spent = give_back(limit, rows[name].spent, since, letters)
        # Of a broken transport it may have been the one that was to try, until whose lease it is closed.
        tried = {(claim.transport, claim.lease_until) for claim in held}
        for name, row in rows.items():
            closed = self._limits.breaker and row.failures >= self._limits.breaker.failures
            if not closed or (name, seconds(row.opens or 0)) in tried:
                row.opens = None
        self._store(rows)

    # -- breakers ----------------------------------------------------------------------------------------------

    def note(self, breaker: Breaker, streaks: Mapping[str, Streak]) -> list[Shift]:
        """Count failures in a row.

        :returns: the breakers that have opened or closed by that.
        """
        rows, shifts = self._lock(streaks), []
        for transport, row in rows.items():
            was_open = row.failures >= breaker.failures
            row.failures = streaks[transport].after(row.failures)
            is_open = row.failures >= breaker.failures
            if is_open:
                row.opens = self.now + millis(breaker.pause)
            elif was_open:
                row.opens = None
            if is_open and not was_open:
                shifts.append(Shift(transport, row.failures, seconds(row.opens or 0)))
            elif was_open and not is_open:
                shifts.append(Shift(transport, row.failures, None))
        self._store(rows)
        return shifts

    # -- rows --------------------------------------------------------------------------------------------------

    def _lock(self, names: Iterable[str]) -> dict[str, _Row]:
        """The rows of those names, made where they are missing."""
        wanted = sorted(set(names))
        rows = self._read(wanted)
        if missing := [name for name in wanted if name not in rows]:
            new = [{"env": self._env, "lane": name} for name in missing]
            self._sql.insert_limit.many(self._line, new)
            rows = self._read(wanted)
        return rows

    def _read(self, names: Sequence[str]) -> dict[str, _Row]:
        if not names:
            return {}
        asked = document([{"lane": name} for name in names])
        return {
            row.lane: _Row(row.opens, row.failures, json.loads(row.spent) if row.spent else {})
            for row in self._sql.lock_limits(self._line, env=self._env, rows=asked)
        }

    def _store(self, rows: Mapping[str, _Row]) -> None:
        if rows:
            stored = document([row.stored(name) for name, row in rows.items()])
            self._sql.store_limits(self._line, env=self._env, rows=stored)


class Gate:
    """How much a claim may take of a lane."""

    def __init__(self, ledger: LimitLedger, lane: str, rows: Mapping[str, _Row]) -> None:
        self._ledger = ledger
        self._lane = lane
        self._rows = rows
        self._probing: tuple[_Row, int] | None = None
        self._broken = False
        #: How many letters.
        self.most = inf
        #: Where it is none: when there may be some, milliseconds.
        self.opens: float = 0

    def restrict(self, most: int | None, until: int | None) -> None:
        """No more than so many.

        :param until: when there will be more; None where that is not known.
        """
        if most is not None:
            self.most = min(self.most, most)
            if most < 1:
                self.opens = max(self.opens, inf if until is None else until)

    def try_one(self, row: _Row, until: int) -> None:
        """The breaker of its transport is open, or lets one try."""
        if row.opens is not None and row.opens > self._ledger.now:
            self._broken = True
            self.restrict(0, row.opens)
        else:
            self.restrict(1, None)
            self._probing = row, until

    def leave(self, letters: int) -> None:
        """So many were claimed."""
        if letters and self._probing:
            # Until its result is recorded nobody else tries; if that never comes, until its lease ends.
            row, until = self._probing
            row.opens = until
        if letters or (0 < self.opens < inf and not self._broken):
            self._ledger.spend(self._rows, self._lane, letters)


def streaks(finished: Sequence[Finished], known: Iterable[str]) -> dict[str, Streak]:
    """How the tries over each transport ended, where that changes anything.

    :param known: the transports over which the last try failed, so that a success is news.
    """
    found: dict[str, Streak] = {}
    for one in finished:
        transport = one.claim.transport
        found[transport] = found.get(transport, Streak()).then(one.report)
    failing = set(known)
    return {to: streak for to, streak in found.items() if streak.failures or to in failing}


def _names(lane: str, limits: Iterable[str]) -> set[str]:
    """The rows of a lane's limits; where it is of several domains, it has one of its own besides."""
    names = set(limits)
    return names | {lane} if names and lane.count(" ") > 1 else names


def _later(one: int | None, other: int | None) -> int | None:
    return max(one or 0, other or 0) or None
