"""A batch that is published whole: all of its letters are sent, or none.

One transaction for a million letters would lock everybody else out, so it takes three steps:

1. While it is being stored, a row of ``mail_batch`` says by which process. Its letters are stored as all are, but
   their deliveries are kept aside, in ``mail_batch_letter``: nothing sees them that claims, lists or counts.
2. One small commit decides: published, or discarded. What a process leaves undecided is discarded after its death.
3. What was decided is done group by group. Whatever is left of it when the process dies, a worker does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from ..errors import OutboxError
from .collisions import repeated
from .driver import Line
from .engine import Database
from .host import Host, alive, this_host
from .rows import document, millis
from .statements import Statements, statements_for

#: How many letters one transaction publishes or discards.
GROUP = 500

#: Seconds without a further letter after which a batch counts as left by its process, where that cannot be told.
SILENCE = 24 * 3600


class _ElsewhereError(Exception):
    """Another process has done this group meanwhile."""


class Batches:
    """The batches of one outbox that are not yet over."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, batch: str, now: float) -> None:
        """Let letters be stored for a batch, and be kept aside."""
        host = this_host()
        with self._database.direct() as line:
            statements_for(line.dialect).insert_batch(
                line,
                id=batch,
                state="storing",
                host=host.name,
                boot_id=host.boot_id,
                pid=os.getpid(),
                beat=millis(now),
            )

    @repeated
    def decide(self, batch: str, decided: str) -> bool:
        """Let a batch be ``"published"``, or ``"discarded"``: durably, at once and as a whole.

        :returns: False where that was decided already, one way or the other.
        """
        with self._database.direct(durable=True) as line:
            sql = statements_for(line.dialect)
            return sql.decide_batch(line, batch=batch, decided=decided).rowcount > 0

    def carry_out(self, batch: str, decided: str, now: float, groups: int | None = None) -> int:
        """Do what was decided.

        :param groups: how many groups at most.
        :returns: how many were done.
        """
        after, done = -1, 0
        while groups is None or done < groups:
            rows = self._waiting(batch, after)
            if not rows:
                with self._database.direct() as line:
                    statements_for(line.dialect).remove_batch(line, batch=batch)
                break
            try:
                if decided == "published":
                    self._publish(batch, rows, now)
                else:
                    self._discard(batch, rows)
            except _ElsewhereError:
                continue
            after, done = rows[-1].position, done + 1
        return done

    def tidy(self, now: float, groups: int = 40) -> None:
        """Carry out what dead processes have decided, and discard what they have not.

        :param groups: how many groups at most.
        """
        with self._database.glance() as line:
            found = list(statements_for(line.dialect).batches(line))
        host = this_host()
        for row in found:
            decided = row.state
            if decided == "storing" and _left(row, host, now) and self.decide(row.id, "discarded"):
                decided = "discarded"
            if decided != "storing":
                groups -= self.carry_out(row.id, decided, now, groups)

    def _waiting(self, batch: str, after: int) -> Sequence[Any]:
        """The next group; read before the database is locked, so that others have their turn between two."""
        with self._database.glance() as line:
            sql = statements_for(line.dialect)
            return list(sql.waiting(line, batch=batch, after=after, limit=GROUP))

    @repeated
    def _publish(self, batch: str, rows: Sequence[Any], now: float) -> None:
        began = {"created": millis(now)}
        deliveries = [json.loads(row.waiting) | began for row in rows]
        with self._database.direct() as line:
            sql = statements_for(line.dialect)
            moved = sql.wait_no_more(line, batch=batch, **_span(rows)).rowcount
            if moved != len(rows):
                raise _ElsewhereError
            sql.insert_delivery.many(line, deliveries)

    @repeated
    def _discard(self, batch: str, rows: Sequence[Any]) -> None:
        asked = document([{"id": row.letter_id} for row in rows])
        with self._database.direct() as line:
            sql = statements_for(line.dialect)
            sql.remove_letters(line, rows=asked)
            sql.remove_recipients(line, rows=asked)
            sql.remove_letter_blobs(line, rows=asked)
            sql.remove_letter_tags(line, rows=asked)
            sql.remove_batch_letters(line, batch=batch, **_span(rows))


def keep_open(line: Line, sql: Statements, batch: str, now: int) -> None:
    """Say that a batch is still being stored, in the transaction that stores more of it.

    :raises OutboxError: it was given up meanwhile.
    """
    if sql.beat_batch(line, batch=batch, now=now).rowcount == 0:
        raise given_up(batch)


def given_up(batch: str) -> OutboxError:
    """What is raised for a batch that somebody else has discarded."""
    return OutboxError(
        f"The batch {batch} got no further message for {SILENCE // 3600} hours, and was discarded: nothing of it is"
        " sent."
    )


def _left(row: Any, host: Host, now: float) -> bool:
    """Whether the process that stores a batch will not go on."""
    here = (row.host, row.boot_id) == (host.name, host.boot_id)
    return row.beat < millis(now - SILENCE) or (here and not alive(row.pid))


def _span(rows: Sequence[Any]) -> dict[str, int]:
    return {"first": rows[0].position, "last": rows[-1].position}
