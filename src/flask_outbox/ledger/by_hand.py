"""What people change of an outbox by hand: transports that are paused, and single letters."""

from __future__ import annotations

from collections.abc import Callable

from .collisions import repeated
from .driver import Statement
from .engine import Database
from .rows import clip, millis
from .statements import Statements, statements_for
from .tables import TEXT


class ByHand:
    """An outbox, as far as it is changed by single statements.

    :param env: ``MAIL_OUTBOX_ENV``.
    """

    def __init__(self, database: Database, env: str) -> None:
        self.database = database
        self.env = env

    def now(self) -> float:
        """This moment, by the clock that leases and due times are kept by.

        :raises OutboxError: it is a server's, asked at first use, and that did not answer.
        """
        if self.database.path is None and not self.database.clock.is_set:
            self.database.check_schema()
        return self.database.clock.now()

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
        lifted = self._change(lambda sql: sql.resume, env=self.env, lane=transport, by=by) == 1
        return (not by and self.reopen(transport)) or lifted

    def resume_all(self, *, by: str = "") -> int:
        """Open all paused transports, and lift the pause of all.

        :param by: only those that were paused by this one.
        :returns: how many.
        """
        lifted = self._change(lambda sql: sql.resume_all, env=self.env, by=by)
        return lifted if by else lifted + self.reopen()

    def reopen(self, transport: str = "") -> bool:
        """Let a lane that is closed for a while be claimed from: by what was spent, and one letter where it is broken.

        :param transport: only its lanes, whose breaker is closed then.
        :returns: whether one was closed.
        """
        if not transport:
            return self._change(lambda sql: sql.open_limits, env=self.env) > 0
        its_domains = f"{transport} "
        changed = self._change(
            lambda sql: sql.open_transport, env=self.env, lane=transport, prefix=its_domains
        )
        return changed > 0

    def cancel(self, letter_id: str, now: float) -> bool:
        """Take a letter out of the queue.

        :returns: False where there is nothing to take: it is being sent, over or unknown.
        """
        cancelled = self._change(
            lambda sql: sql.cancel, durable=True, letter=letter_id, now=millis(now)
        )
        return cancelled > 0

    def hold(self, letter_id: str, reason: str) -> bool:
        """Keep a letter back that is in the queue, until :meth:`release_held`.

        :returns: False where there is nothing to keep: it is being sent, over or unknown.
        """
        kept = clip(reason, 200)
        return self._change(lambda sql: sql.hold, durable=True, letter=letter_id, reason=kept) > 0

    def release_held(self, letter_id: str) -> bool:
        """Let a letter go that is held, with the tries it had.

        :returns: False where it is not held.
        """
        return self._change(lambda sql: sql.release_held, letter=letter_id) > 0

    @repeated
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

    @repeated
    def _change(
        self,
        which: Callable[[Statements], Statement],
        /,
        *,
        durable: bool = False,
        **values: object,
    ) -> int:
        """Run one statement in a transaction of its own.

        :returns: how many rows it changed.
        """
        with self.database.direct(durable=durable) as line:
            return which(statements_for(line.dialect))(line, **values).rowcount
