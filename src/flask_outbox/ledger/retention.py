"""Retention carried out: what is over goes, in small steps, while sends and workers go on.

A sweep reads along the letters, a page at a time and without a lock, and leaves to the rule what is over. What is,
goes in a transaction of its own, of bounded length: a letter with all that belongs to it, or only its content. Whoever
changes a delivery at that moment, as a retry by hand does, comes first.

An attachment is one row however many letters have it. It goes when none has it any more, and when no send has relied
on it within the hour: a send that finds an attachment which was stored or used within half an hour adds no more than
its own reference (:data:`.sends.FRESH`), and is committed before the other half is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from ..rules.retention import DAY, EVER, Retention
from . import sends
from .collisions import repeated
from .driver import Direct, Result, Statement
from .engine import Database
from .portions import portions
from .rows import Row, document, millis
from .statements import Statements, statements_for

#: Messages that a page has, and a transaction takes away at most.
PAGE = 100

#: Bytes of letters that a transaction takes away, but for a single one: to free a large row is to read all of it.
BYTES = 16 * 2**20

#: Seconds of letters that are looked at again: what was late is over then.
OVERLAP = 7_200.0

#: Pages of a SQLite file that a step gives back to the system, and how many a worker leaves for what comes.
STEP, SPARE = 256, 2_048


class Swept(NamedTuple):
    """What a step has done.

    :param pages: of a SQLite file, given back.
    """

    messages: int = 0
    bodies: int = 0
    keys: int = 0
    attachments: int = 0
    pages: int = 0
    events: int = 0
    suppressions: int = 0


class Sweeps:
    """Takes away what is over in one outbox.

    :param env: whose messages, keys and suppressions; attachments and events belong to all.
    """

    def __init__(self, database: Database, env: str) -> None:
        self._database = database
        self._env = env
        self._reached = ""
        self._whole = 0.0  # when a sweep began from the first letter on

    def count(self, rule: Retention, now: float) -> Swept:
        """How many messages would go, and how many contents of others."""
        with self._database.glance() as line:
            sql = statements_for(line.dialect)
            gone = sum(
                _number(sql.count_ended(line, **self._ended(state, now - span)))
                for state, span in rule.messages.items()
                if span < EVER
            )
            emptied = 0
            for state, span in rule.bodies.items():
                since = now - min(rule.messages.get(state, EVER), now)
                if span < EVER:
                    asked = self._ended(state, now - span)
                    emptied += _number(sql.count_full(line, **asked, since=millis(since)))
        return Swept(messages=gone, bodies=emptied)

    def _ended(self, state: str, until: float) -> dict[str, object]:
        """What names those that are meant, in a statement."""
        moment = millis(until)
        return {"env": self._env, "state": state, "until": moment, "before": _before(until)}

    def whole(self, rule: Retention, now: float) -> Iterator[Swept]:
        """All that is over, and all the room that it leaves. Each step is a transaction, or one look."""
        yield from self._letters(rule, now, "")
        yield from self._keys(rule, now)
        yield from self._blobs(now)
        yield from self._events(rule, now)
        yield from self._suppressions(rule, now)
        yield from self._give_back(0)

    def routine(self, rule: Retention, now: float) -> Iterator[Swept]:
        """What a worker does again and again: once a day from the first letter on, else from where it was."""
        whole = now - self._whole >= DAY or now < self._whole
        if whole:
            self._whole, self._reached = now, ""
        yield from self._letters(rule, now, self._reached)
        if rule.shortest < EVER:
            self._reached = _before(now - rule.shortest - OVERLAP)
        yield from self._keys(rule, now)
        if whole:
            yield from self._blobs(now)
            yield from self._events(rule, now)
            yield from self._suppressions(rule, now)
        yield from self._give_back(SPARE)

    # -- letters -----------------------------------------------------------------------------------------------

    def _letters(self, rule: Retention, now: float, after: str) -> Iterator[Swept]:
        if rule.shortest == EVER:
            return
        before = _before(now - rule.shortest)
        while rows := self._page(after, before):
            for portion in portions(self._over(rows, rule, now), BYTES):
                yield self._take_away(portion, now)
            after = rows[-1].letter_id
            yield Swept()

    def _page(self, after: str, before: str) -> Sequence[Any]:
        """The next deliveries; all those of a letter, or none."""
        with self._database.glance() as line:
            sql = statements_for(line.dialect)
            rows = list(sql.walk(line, after=after, before=before, limit=PAGE + 1))
        last = rows[-1].letter_id if len(rows) > PAGE else ""
        return [row for row in rows if row.letter_id != last] or rows

    def _over(self, rows: Iterable[Any], rule: Retention, now: float) -> Iterator[_Over]:
        for letter_id, group in groupby(rows, key=lambda row: row.letter_id):
            parts = list(group)
            ages = [(row.state, now - (row.finished or 0) / 1000) for row in parts]
            if any(row.finished is None or row.env != self._env for row in parts):
                continue
            whole = all(rule.is_over(*age) for age in ages)
            if whole or (parts[0].full and all(rule.is_empty(*age) for age in ages)):
                yield _Over(letter_id, parts, whole)

    @repeated
    def _take_away(self, portion: Sequence[_Over], now: float) -> Swept:
        asked = [{"id": row.id, "state": row.state} for one in portion for row in one.parts]
        with self._database.direct() as line:
            sql = statements_for(line.dialect)
            ours = {row.id for row in sql.lock_ended(line, rows=document(asked))}
            kept = [one for one in portion if all(row.id in ours for row in one.parts)]
            whole = [one.letter_id for one in kept if one.whole]
            emptied = [one.letter_id for one in kept if not one.whole]
            _remove(line, sql, whole, emptied, millis(now - 2 * sends.FRESH))
        return Swept(messages=len(whole), bodies=len(emptied))

    # -- what belongs to no letter -------------------------------------------------------------------------------

    def _keys(self, rule: Retention, now: float) -> Iterator[Swept]:
        if rule.keys == EVER:
            return
        asked = {"env": self._env, "until": millis(now - rule.keys)}
        while names := self._old_keys(asked):
            yield Swept(keys=self._remove(lambda sql: sql.remove_keys, names, **asked))

    def _old_keys(self, asked: Row) -> list[Row]:
        with self._database.glance() as line:
            rows = statements_for(line.dialect).old_keys(line, **asked, limit=PAGE)
            return [{"name": row.name} for row in rows]

    def _blobs(self, now: float) -> Iterator[Swept]:
        """What nothing has led to: attachments that were too fresh when their last letter went, or whose never came."""
        stale, after = millis(now - 2 * sends.FRESH), ""
        while rows := self._page_of_blobs(after):
            after, gone = rows[-1].digest, 0
            loose = [{"digest": r.digest} for r in rows if not r.used and r.touched < stale]
            if loose:
                gone = self._remove(lambda sql: sql.delete_blobs, loose, stale=stale)
            yield Swept(attachments=gone)

    def _page_of_blobs(self, after: str) -> Sequence[Any]:
        with self._database.glance() as line:
            return list(statements_for(line.dialect).walk_blobs(line, after=after, limit=PAGE))

    def _events(self, rule: Retention, now: float) -> Iterator[Swept]:
        """What was told of a message that is not there; the rest goes with its message."""
        if rule.events == EVER:
            return
        until, after = millis(now - rule.events), 0
        while rows := self._page_of_events(after):
            if rows[0].recorded > until:
                return  # they are in the order of their coming
            after, gone = rows[-1].id, 0
            loose = [{"id": r.id} for r in rows if not r.used and r.recorded <= until]
            if loose:
                gone = self._remove(lambda sql: sql.remove_loose_events, loose)
            yield Swept(events=gone)

    def _page_of_events(self, after: int) -> Sequence[Any]:
        with self._database.glance() as line:
            return list(statements_for(line.dialect).walk_events(line, after=after, limit=PAGE))

    def _suppressions(self, rule: Retention, now: float) -> Iterator[Swept]:
        """Those that have ended."""
        if rule.events == EVER:
            return
        asked = {"env": self._env, "until": millis(now - rule.events)}
        while addresses := self._old_suppressions(asked):
            gone = self._remove(lambda sql: sql.remove_suppressions, addresses, **asked)
            yield Swept(suppressions=gone)

    def _old_suppressions(self, asked: Row) -> list[Row]:
        with self._database.glance() as line:
            rows = statements_for(line.dialect).old_suppressions(line, **asked, limit=PAGE)
            return [{"address": row.address} for row in rows]

    @repeated
    def _remove(
        self,
        which: Callable[[Statements], Statement],
        /,
        these: Sequence[Row],
        **asked: object,
    ) -> int:
        """Delete some rows, in a transaction of its own.

        :returns: how many there were.
        """
        with self._database.direct() as line:
            statement = which(statements_for(line.dialect))
            return statement(line, **asked, rows=document(these)).rowcount

    def _give_back(self, spare: int) -> Iterator[Swept]:
        """Make a SQLite file smaller; other databases see to that themselves."""
        while self._database.path is not None:
            with self._database.direct() as line:
                found = line.exec_driver_sql("PRAGMA freelist_count").fetchone()
                pages = min(STEP, (found[0] if found else 0) - spare)
                if pages <= 0:
                    return
                line.exec_driver_sql(f"PRAGMA incremental_vacuum({pages})").fetchall()
            yield Swept(pages=pages)


class _Over(NamedTuple):
    """A letter that is over.

    :param whole: all of it goes, and not only its content.
    """

    letter_id: str
    parts: Sequence[Any]
    whole: bool

    @property
    def size(self) -> int:
        return int(self.parts[0].size) if self.parts[0].full else 0


def _number(result: Result) -> int:
    ((number,),) = result
    return int(number)


def _before(moment: float) -> str:
    """What the ids of letters of that moment begin with."""
    return f"{millis(moment):012x}"


def _remove(
    line: Direct, sql: Statements, whole: Sequence[str], emptied: Sequence[str], stale: int
) -> None:
    both, gone = _rows([*whole, *emptied]), _rows(whole)
    digests = document([{"digest": row.digest} for row in sql.digests(line, rows=both)])
    if emptied:
        sql.empty_letters(line, rows=_rows(emptied))
    if whole:
        for statement in (
            sql.remove_deliveries,
            sql.remove_recipients,
            sql.remove_attempts,
            sql.remove_events,
            sql.remove_letter_tags,
            sql.remove_places,
            sql.remove_letters,
        ):
            statement(line, rows=gone)
    if digests != "[]":
        sql.remove_letter_blobs(line, rows=both)
        sql.delete_blobs(line, rows=digests, stale=stale)


def _rows(ids: Iterable[str]) -> str:
    return document([{"id": one} for one in ids])
