"""Every write to the outbox.

Each method is one transaction, but :meth:`Store.enqueue`, which is part of the caller's. Moments are Unix seconds.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import Connection

from ..errors import ConfigurationError
from ..mail.letter import Letter, Terms
from ..rules.limits import Limits
from . import claims, results, sends
from .batches import Batches
from .by_hand import ByHand
from .claims import NO_KEY, Claim, Ended, Lane, Lease
from .clock_statements import SLACK
from .collisions import repeated
from .contents import Contents
from .driver import Line
from .engine import Database
from .file import ephemeral
from .host import alive, this_host
from .limits import Gate, LimitLedger, Shift, streaks
from .results import Finished
from .retention import Sweeps
from .rows import document, millis, rows_of
from .sends import Entry
from .statements import Statements, statements_for
from .tables import EVERY

__all__ = ["EVERY", "Claim", "Finished", "Lane", "Shift", "Store"]

#: Bytes of letters that one claim takes into memory.
BUDGET = 32 * 2**20


class Store(ByHand):
    """The outbox of one database. Making one opens nothing.

    :param url: as for :class:`~flask_outbox.ledger.engine.Database`.
    :param env: ``MAIL_OUTBOX_ENV``: what is stored carries it, and only what carries it is claimed.
    :param limits: what holds claims back.
    :param keys: of ``MAIL_OUTBOX_KEY``.
    """

    def __init__(
        self,
        url: str,
        *,
        env: str = "",
        limits: Limits | None = None,
        keys: Sequence[bytes] = (),
    ) -> None:
        if len(env) > 64:
            raise ConfigurationError("'MAIL_OUTBOX_ENV' must be at most 64 characters long.")
        super().__init__(Database(url), env)
        #: Those that are published whole.
        self.batches: Batches = Batches(self.database)
        #: What encrypts and decrypts.
        self.contents: Contents = Contents(self.database, keys)
        #: What takes away what is over.
        self.sweeps: Sweeps = Sweeps(self.database, env)
        self._limits = limits or Limits()
        #: The transports over which the last try failed, as the agenda said.
        self._failing: set[str] = set()
        self._worker: str | None = None

    @property
    def path(self) -> Path | None:
        """The SQLite file, or None for a server database."""
        return self.database.path

    def warning(self) -> str:
        """What to log once because the outbox may not outlive its machine or container, or ""."""
        return ephemeral(self.path) if self.path is not None else ""

    def create_schema(self) -> int | None:
        """Make the tables where they are missing, and bring older ones to this version.

        With a SQLite file that is done at first use anyway.

        :returns: of which version they were before, or None where they were missing.
        :raises SchemaError: they are there in a newer version.
        """
        return self.database.create_schema()

    def check_schema(self) -> None:
        """Make sure that the outbox can be used.

        :raises SchemaError: its tables are missing, or of another version.
        """
        self.database.check_schema()

    def set_clock(self) -> None:
        """Ask a server for its time; a file has none of its own.

        :raises OutboxError: it did not answer.
        """
        self.database.set_clock()

    def dispose(self) -> None:
        """Close what this process has opened; the next use opens it again."""
        self.database.dispose()

    # -- sends -------------------------------------------------------------------------------------------------

    @repeated
    def add(self, batch: Sequence[tuple[Letter, Terms]], now: float) -> list[str]:
        """Store letters durably; all of them or none.

        :returns: for each its id, or that of the first one sent under the same key.
        :raises OutboxError: they could not be stored.
        :raises MessageError: a key was used for another content.
        """
        entries = self._entries(batch, now)
        with self.database.direct(durable=True, alone=sends.is_single(entries)) as line:
            return sends.store(line, statements_for(line.dialect), entries, self.env, millis(now))

    def enqueue(
        self,
        connection: Connection,
        batch: Sequence[tuple[Letter, Terms]],
        now: float,
        sql: Statements | None = None,
    ) -> list[str]:
        """Store letters as part of the caller's transaction, which is neither committed nor rolled back.

        :param sql: the statements, where it is not to be the usual ones.
        :returns: as :meth:`add`.
        :raises MessageError: a key was used for another content.
        """
        sql = sql or statements_for(connection.dialect)
        return sends.store(connection, sql, self._entries(batch, now), self.env, millis(now))

    def _entries(self, batch: Sequence[tuple[Letter, Terms]], now: float) -> list[Entry]:
        lane, of, vault = self._limits.lane, Entry.of, self.contents.vault()
        return [of(letter, terms, self.env, millis(now), lane, vault) for letter, terms in batch]

    # -- claims ------------------------------------------------------------------------------------------------

    def agenda(self, now: float) -> list[Lane]:
        """The lanes that have live deliveries; it costs a seek a lane, however many they are."""
        with self.database.glance() as line:
            lanes = claims.agenda(line, statements_for(line.dialect), self.env, now)
        if self._limits.breaker is not None:
            # While it is closed, also for the one letter that tries, nothing is said of how it fares.
            closed = {lane.transport for lane in lanes if lane.opens is not None}
            self._failing &= closed
            self._failing |= {lane.transport for lane in lanes if lane.failing}
        return lanes

    @repeated
    def claim(
        self,
        lane: str,
        priority: int,
        limit: int,
        *,
        now: float,
        lease: float,
        begin: float = 0.0,
        budget: int = BUDGET,
        one_always: bool = True,
        tell: Callable[[Sequence[Ended]], None] | None = None,
        shut: Callable[[float], None] | None = None,
        letters: Sequence[str] | None = None,
    ) -> list[Claim]:
        """Take the first due deliveries of a lane in hand, those of dead workers among them.

        What has expired meanwhile ends here, and so does what may have been sent and must not be sent twice.

        :param lease: seconds after which they are due again, unless extended.
        :param begin: where the agenda says that the lane begins; nothing that was due before is looked for.
        :param budget: bytes of letters after which no more are taken.
        :param one_always: whether the first one is taken however large it is.
        :param tell: told of those that ended here, once that is committed.
        :param shut: told when the lane opens, where its limits let nothing out now; ``inf`` where that is not known.
        :param letters: the ids of those that are asked for; None for all.
        """
        since, until = millis(now), millis(now + lease)
        held = Lease(secrets.randbits(63), since, until, self._worker, lane)
        with self.database.direct() as line:
            gate = self._gate(line, held)
            if gate is not None:
                limit = int(min(limit, gate.most))
            sql = statements_for(line.dialect)
            taken: list[Claim] = []
            ended: list[Ended] = []
            if limit > 0:
                asked = {
                    "env": self.env,
                    "lane": lane,
                    "priority": priority,
                    "now": since,
                    "limit": limit,
                }
                if letters is None:
                    due = sql.candidates(line, begin=millis(begin), **asked)
                else:
                    due = sql.candidates_among(line, rows=rows_of(letters), **asked)
                if found := list(claims.within(list(due), budget, one_always=one_always)):
                    taken, ended = claims.take(line, sql, found, held, since, self.contents)
            if gate is not None:
                gate.leave(len(taken))
        if gate is not None and gate.most < 1 and shut is not None:
            shut(gate.opens / 1000)
        if ended and tell is not None:
            tell(ended)
        return taken

    def _gate(self, line: Line, lease: Lease) -> Gate | None:
        """What holds back claims of a lane, if anything may."""
        failing = lease.lane.partition(" ")[0] in self._failing
        if not (failing or self._limits.of(lease.lane)):
            return None
        return self._ledger(line, lease.since).enter(lease.lane, failing=failing, until=lease.until)

    def _ledger(self, line: Line, now: int) -> LimitLedger:
        return LimitLedger(line, statements_for(line.dialect), self.env, self._limits, now)

    def mark_content_started(self, claim: Claim, now: float) -> bool:
        """Commit, also against a power cut, that the content is about to leave; for ``at_most_once``.

        :returns: whether the lease still is ours; if not, it must not leave.
        """
        asked = document([claim.guard])
        marked = self._change(
            lambda sql: sql.mark_content, durable=True, rows=asked, now=millis(now)
        )
        return marked == 1

    @repeated
    def extend(self, held: Sequence[Claim], until: float) -> set[int]:
        """Let leases end later.

        :returns: the deliveries that still are ours.
        """
        asked = document([claim.guard for claim in held])
        with self.database.direct() as line:
            sql = statements_for(line.dialect)
            sql.extend(line, rows=asked, until=millis(until))
            return {row.id for row in sql.held(line, rows=asked)}

    @repeated
    def release(self, held: Sequence[Claim], now: float) -> None:
        """Give back what was not tried: due at once, no try counted."""
        asked = document([claim.guard for claim in held])
        with self.database.direct() as line:
            statements_for(line.dialect).release(line, rows=asked, now=millis(now))
            if self._failing or any(self._limits.of(claim.lane) for claim in held):
                self._ledger(line, millis(now)).give_back(held, self._failing)

    @repeated
    def finish(
        self,
        finished: Sequence[Finished],
        now: float,
        shift: Callable[[Shift], None] | None = None,
    ) -> set[int]:
        """Write down what came of claims.

        Where a lease was lost somebody else has the delivery, and only the try is recorded, marked as such.

        :param shift: told of each breaker that has opened or closed by it, once that is committed.
        :returns: the deliveries that were still ours.
        """
        breaker = self._limits.breaker
        news = {} if breaker is None else streaks(finished, self._failing)
        shifts: list[Shift] = []
        with self.database.direct() as line:
            held = results.record(line, statements_for(line.dialect), finished, millis(now))
            if breaker is not None and news:
                shifts = self._ledger(line, millis(now)).note(breaker, news)
        for transport, streak in news.items():
            (self._failing.add if streak.failures else self._failing.discard)(transport)
        if shift is not None:
            for one in shifts:
                shift(one)
        return held

    def release_unread(self, now: float) -> int:
        """Put back into the queue what was held because its key was missing: whoever starts a worker may have added it.

        :returns: how many deliveries.
        """
        if self.contents.cipher is None:
            return 0
        return self._change(
            lambda sql: sql.release_unread, env=self.env, reason=NO_KEY, now=millis(now)
        )

    # -- workers -----------------------------------------------------------------------------------------------

    def register_worker(self, now: float, role: str = "worker") -> str:
        """Write down that a worker runs in this process; what it claims carries its id.

        :param role: ``"worker"``, ``"tasks"`` (of a task queue) or ``"relay"``.
        :returns: the id.
        """
        self._worker, host = secrets.token_hex(16), this_host()
        self._change(
            lambda sql: sql.insert_worker,
            id=self._worker,
            env=self.env,
            role=role,
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

    @repeated
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

    @repeated
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
