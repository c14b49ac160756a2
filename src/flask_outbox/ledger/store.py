"""Every write to the outbox.

Each method is one transaction, but :meth:`Store.enqueue`, which is part of the caller's. Moments are Unix seconds.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sqlalchemy import Connection

from ..errors import ConfigurationError
from ..mail.letter import Letter, Terms
from . import claims, purge, results, sends
from .batches import Batches
from .claims import Claim, Ended, Lane, Lease
from .clock_statements import SLACK
from .driver import Statement
from .engine import Database
from .file import ephemeral
from .host import alive, this_host
from .results import Finished
from .rows import clip, document, millis
from .sends import Entry
from .statements import Statements, statements_for
from .tables import EVERY, TEXT

__all__ = ["EVERY", "Claim", "Finished", "Lane", "Store"]

#: Bytes of letters that one claim takes into memory.
BUDGET = 32 * 2**20

#: Messages that are deleted at once.
BATCH = 500


class Store:
    """The outbox of one database. Making one opens nothing.

    :param url: as for :class:`~flask_outbox.ledger.engine.Database`.
    :param env: ``MAIL_OUTBOX_ENV``: what is stored carries it, and only what carries it is claimed.
    """

    def __init__(self, url: str, *, env: str = "") -> None:
        if len(env) > 64:
            raise ConfigurationError("'MAIL_OUTBOX_ENV' must be at most 64 characters long.")
        self.database: Database = Database(url)
        #: Those that are published whole.
        self.batches: Batches = Batches(self.database)
        self.env = env
        self._worker: str | None = None

    @property
    def path(self) -> Path | None:
        """The SQLite file, or None for a server database."""
        return self.database.path

    def warning(self) -> str:
        """What to log once because the outbox may not outlive its machine or container, or ""."""
        return ephemeral(self.path) if self.path is not None else ""

    def create_schema(self) -> None:
        """Make the tables where they are missing; those of a SQLite file are made at first use anyway.

        :raises SchemaError: they are there in another version.
        """
        self.database.create_schema()

    def check_schema(self) -> None:
        """Make sure that the outbox can be used.

        :raises SchemaError: its tables are missing, or of another version.
        """
        self.database.check_schema()

    def now(self) -> float:
        """This moment, by the clock that leases and due times are kept by.

        :raises OutboxError: it is a server's, asked at first use, and that did not answer.
        """
        if self.path is None and not self.database.clock.is_set:
            self.database.check_schema()
        return self.database.clock.now()

    def set_clock(self) -> None:
        """Ask a server for its time; a file has none of its own.

        :raises OutboxError: it did not answer.
        """
        self.database.set_clock()

    def dispose(self) -> None:
        """Close what this process has opened; the next use opens it again."""
        self.database.dispose()

    # -- sends -------------------------------------------------------------------------------------------------

    def add(self, batch: Sequence[tuple[Letter, Terms]], now: float) -> list[str]:
        """Store letters durably; all of them or none.

        :returns: for each its id, or that of the first one sent under the same key.
        :raises OutboxError: they could not be stored.
        :raises MessageError: a key was used for another content.
        """
        entries = self._entries(batch, now)
        with self.database.direct(durable=True) as line:
            return sends.store(line, statements_for(line.dialect), entries, self.env, millis(now))

    def enqueue(
        self, connection: Connection, batch: Sequence[tuple[Letter, Terms]], now: float
    ) -> list[str]:
        """Store letters as part of the caller's transaction, which is neither committed nor rolled back.

        :returns: as :meth:`add`.
        :raises MessageError: a key was used for another content.
        """
        sql = statements_for(connection.dialect)
        return sends.store(connection, sql, self._entries(batch, now), self.env, millis(now))

    def _entries(self, batch: Sequence[tuple[Letter, Terms]], now: float) -> list[Entry]:
        return [Entry.of(letter, terms, self.env, millis(now)) for letter, terms in batch]

    # -- claims ------------------------------------------------------------------------------------------------

    def agenda(self, now: float) -> list[Lane]:
        """The lanes that have live deliveries; it costs a seek a lane, however many they are."""
        with self.database.glance() as line:
            return claims.agenda(line, statements_for(line.dialect), self.env, now)

    def claim(
        self,
        lane: str,
        priority: int,
        limit: int,
        *,
        now: float,
        lease: float,
        budget: int = BUDGET,
        one_always: bool = True,
        tell: Callable[[Sequence[Ended]], None] | None = None,
    ) -> list[Claim]:
        """Take the first due deliveries of a lane in hand, those of dead workers among them.

        What has expired meanwhile ends here, and so does what may have been sent and must not be sent twice.

        :param lease: seconds after which they are due again, unless extended.
        :param budget: bytes of letters after which no more are taken.
        :param one_always: whether the first one is taken however large it is.
        :param tell: told of those that ended here, once that is committed.
        """
        held = Lease(secrets.randbits(63), millis(now + lease), self._worker)
        with self.database.direct() as line:
            sql = statements_for(line.dialect)
            due = sql.candidates(
                line, env=self.env, lane=lane, priority=priority, now=millis(now), limit=limit
            )
            found = list(claims.within(list(due), budget, one_always=one_always))
            if not found:
                return []
            taken, ended = claims.take(line, sql, found, held, millis(now))
        if tell is not None:
            tell(ended)
        return taken

    def mark_content_started(self, claim: Claim, now: float) -> bool:
        """Commit, also against a power cut, that the content is about to leave; for ``at_most_once``.

        :returns: whether the lease still is ours; if not, it must not leave.
        """
        asked = document([claim.guard])
        marked = self._change(
            lambda sql: sql.mark_content, durable=True, rows=asked, now=millis(now)
        )
        return marked == 1

    def extend(self, held: Sequence[Claim], until: float) -> set[int]:
        """Let leases end later.

        :returns: the deliveries that still are ours.
        """
        asked = document([claim.guard for claim in held])
        with self.database.direct() as line:
            sql = statements_for(line.dialect)
            sql.extend(line, rows=asked, until=millis(until))
            return {row.id for row in sql.held(line, rows=asked)}

    def release(self, held: Sequence[Claim], now: float) -> None:
        """Give back what was not tried: due at once, no try counted."""
        asked = document([claim.guard for claim in held])
        self._change(lambda sql: sql.release, rows=asked, now=millis(now))

    def finish(self, finished: Sequence[Finished], now: float) -> set[int]:
        """Write down what came of claims.

        Where a lease was lost somebody else has the delivery, and only the try is recorded, marked as such.

        :returns: the deliveries that were still ours.
        """
        with self.database.direct() as line:
            return results.record(line, statements_for(line.dialect), finished, millis(now))

    # -- workers -----------------------------------------------------------------------------------------------

    def register_worker(self, now: float) -> str:
        """Write down that a worker runs in this process; what it claims carries its id.

        :returns: the id.
        """
        self._worker, host = secrets.token_hex(16), this_host()
        self._change(
            lambda sql: sql.insert_worker,
            id=self._worker,
            env=self.env,
            host=host.name,
            boot_id=host.boot_id,
            pid=os.getpid(),
            started=millis(now),
            beat=millis(now),
        )
        return self._worker

    def beat(self, now: float) -> None:
        """The worker lives."""
        self._change(lambda sql: sql.beat, worker=self._worker, now=millis(now))

    def unregister_worker(self) -> None:
        """The worker has ended."""
        gone, self._worker = self._worker, None
        self._change(lambda sql: sql.remove_workers, rows=document([{"id": gone}]))

    def rescue_all(self, now: float) -> int:
        """Free everything that is marked as being sent, and forget all other workers.

        Only for whoever holds the drainer's lock of a SQLite file: then all of it belongs to dead ones.

        :returns: how many deliveries.
        """
        with self.database.direct() as line:
            sql = statements_for(line.dialect)
            sql.remove_other_workers(line, worker=self._worker or "")
            return sql.rescue_all(line, now=millis(now)).rowcount

    def rescue_dead(self, now: float) -> int:
        """Free what workers of this host had in hand whose processes are gone, before their leases end.

        :returns: how many deliveries.
        """
        host = this_host()
        with self.database.direct() as line:
            sql = statements_for(line.dialect)
            here = sql.workers_here(line, host=host.name, boot=host.boot_id)
            dead = document([{"id": row.id} for row in here if not alive(row.pid)])
            freed = sql.rescue(line, rows=dead, now=millis(now)).rowcount
            sql.remove_workers(line, rows=dead)
            return freed

    def bring_forward(self, now: float) -> int:
        """Make due what was stored by a clock that has been set back since, but for what was to be sent later.

        :returns: how many deliveries.
        """
        asked = {"env": self.env, "now": millis(now), "ahead": millis(now + SLACK)}
        with self.database.direct() as line:
            sql = statements_for(line.dialect)
            return sum(
                sql.bring_forward(line, **asked, lane=lane.lane, priority=lane.priority).rowcount
                for lane in claims.agenda(line, sql, self.env, now)
            )

    # -- by hand -----------------------------------------------------------------------------------------------

    def pause(self, transport: str, reason: str, *, by: str) -> None:
        """Let nothing more be claimed for a transport.

        :param transport: its name, or :data:`EVERY` for all there are and will be.
        :param by: ``"worker"`` or ``"person"``, whose pause a worker's does not replace.
        """
        self._change(
            lambda sql: sql.pause,
            env=self.env,
            lane=transport,
            paused=millis(self.now()),
            paused_by=by,
            reason=clip(reason, TEXT),
        )

    def resume(self, transport: str, *, by: str = "") -> bool:
        """Open a paused transport.

        :param by: only if it was paused by this one.
        :returns: whether it was paused.
        """
        return self._change(lambda sql: sql.resume, env=self.env, lane=transport, by=by) == 1

    def resume_all(self, *, by: str = "") -> int:
        """Open all paused transports, and lift the pause of all.

        :param by: only those that were paused by this one.
        :returns: how many.
        """
        return self._change(lambda sql: sql.resume_all, env=self.env, by=by)

    def cancel(self, letter_id: str, now: float) -> bool:
        """Take a letter out of the queue.

        :returns: False where there is nothing to take: it is being sent, over or unknown.
        """
        cancelled = self._change(
            lambda sql: sql.cancel, durable=True, letter=letter_id, now=millis(now)
        )
        return cancelled > 0

    def retry(self, letter_id: str, now: float) -> bool:
        """Put a letter that has ended or waits for a person back into the queue, as if it were new.

        It goes to those who did not get it.

        :returns: False where there is nothing to retry: it is live, sent or unknown.
        """
        with self.database.direct(durable=True) as line:
            sql = statements_for(line.dialect)
            if not sql.retry(line, letter=letter_id, now=millis(now)).rowcount:
                return False
            sql.reopen(line, letter=letter_id, now=millis(now))
            return True

    def count_ended(self, state: str, until: float) -> int:
        """How many messages ended in that state before a moment: what :meth:`purge` would take away."""
        asked = purge.ended_before(self.env, state, millis(until))
        with self.database.glance() as line:
            (row,) = statements_for(line.dialect).count_ended(line, **asked)
            return int(row.number)

    def purge(self, state: str, until: float, now: float) -> Iterator[int]:
        """Delete what ended in that state before a moment, a batch after the other; workers go on between them.

        :returns: of each batch, how many messages it was.
        """
        asked = {**purge.ended_before(self.env, state, millis(until)), "limit": BATCH}
        stale, after, gone = millis(now - 2 * sends.FRESH), "", BATCH
        while gone == BATCH:
            with self.database.direct() as line:
                sql = statements_for(line.dialect)
                gone, after = purge.batch(line, sql, asked, after=after, stale=stale)
            yield gone

    def _change(
        self, which: Callable[[Statements], Statement], *, durable: bool = False, **values: object
    ) -> int:
        """Run one statement in a transaction of its own.

        :returns: how many rows it changed.
        """
        with self.database.direct(durable=durable) as line:
            return which(statements_for(line.dialect))(line, **values).rowcount
