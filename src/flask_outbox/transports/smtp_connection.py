"""One SMTP connection: opened, used for one letter after the other, closed politely.

The rules:

1. Where the server announced PIPELINING, an envelope is one write, and the envelope of the next
   letter goes out with the content of this one, or behind it when the letter comes later.
2. No content leaves before the reply to the content before it: at most one letter a connection can
   have its final dot sent and its reply not yet received.
3. A letter that nobody wants any more is not begun. After the server said 354 the only way back is
   to drop the connection, and nothing was sent ahead on it at that moment.
4. A connection that dies before the first reply to an envelope was stale, unless it is new: that
   letter gets a second chance on a new one, and so does one whose envelope was sent ahead.
5. An idle connection is left before servers tire of it (RFC 5321 §4.5.3.2.7 gives it five minutes), not kept alive
   by NOOP: servers count that as junk, and by rule 4 one that died anyway costs no more than a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from ..mail.content import Composed
from ..rules.outcomes import Kind, Outcome, Phase, Scope
from ..rules.replies import Step
from .smtp_job import Job
from .smtp_lmtp import LmtpProtocol
from .smtp_opening import Opener
from .smtp_protocol import Reply, SmtpProtocol
from .smtp_settings import SmtpSettings
from .smtp_states import Command, State
from .smtp_transcript import Opening
from .smtp_wire import Broken, HandshakeFailed, Wire, lost

# Seconds to wait at most (RFC 5321 §4.5.3.2).
_REPLY = 300.0
_DATA = 120.0
_BLOCK = 180.0  # for some part of a content to be taken
_DOT = 600.0
_QUIT = 3.0  # not worth more

#: Of an envelope in one go, what a server lost that answered its beginning.
_REST = "the rest of the commands that it said to take at once (PIPELINING)"

_CLOSED = Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="the transport was closed")


class Pool(Protocol):
    """What a connection asks of the pool it belongs to."""

    def has_for(self, connection: Connection) -> bool:
        """Whether a letter waits that the connection may take once its own is done."""
        ...

    def take(self, connection: Connection, before: Job | None = None) -> Job | None:
        """The next letter that is wanted and that the connection may take.

        :param before: the letter whose content is under way on it.
        """

    def rest(self, connection: Connection) -> None:
        """The connection has nothing to do: wake it when there is."""

    def put_back(self, job: Job) -> None:
        """A letter that goes on in another transaction, before all others."""

    def has_room(self, connection: Connection) -> None:
        """The connection is busy with a content and could take another envelope along."""

    def closed(self, connection: Connection, failure: Outcome | None, again: Job | None) -> None:
        """The connection takes no more letters.

        :param failure: why it could not be opened, if it could not.
        :param again: a letter that gets its second chance on a new connection.
        """


class Connection:
    """A connection from its opening to its end.

    :param opener: of the transport's sessions.
    :param clock: seconds, for the connection's age.
    :param first: a letter that must go over this very connection.
    """

    def __init__(
        self,
        settings: SmtpSettings,
        opener: Opener,
        pool: Pool,
        clock: Callable[[], float],
        first: Job | None = None,
    ) -> None:
        #: Whether it was opened; the pool counts on those that were.
        self.ready = False
        self._settings = settings
        self._opener = opener
        self._pool = pool
        self._clock = clock
        self._born = clock()
        self._opening = Opening(asyncio.get_running_loop().time(), settings.name)
        self._use_new_wire()
        self._pipelining = False
        self._job = first
        self._ahead: Job | None = None  # its envelope was sent behind the content of the other
        self._begun = 0
        self._fresh = True  # neither used nor idle yet
        self._resetting = False
        self._unheard = 0  # replies to a content whose final dot was written that are not here
        self._stopping = False

    # -- for the pool ------------------------------------------------------------------------

    @property
    def opening(self) -> bool:
        """Whether it is being opened, to take a letter then."""
        return not (self.ready or self._job)

    async def run(self) -> None:
        """Live: open, carry letters until there is a reason to end, settle what is left, close."""
        failure: Outcome | None = None
        try:
            await self._open()
            self._wire.opening = None
            self._wire.check()
            self._pipelining = self._settings.pipelining and self._protocol.pipelining
            self.ready = True
            while job := self._job or self._ahead or await self._next():
                await self._carry(job)
                self._job = job = None  # while it waits for the next one, it keeps no letter
        except Broken as broken:
            failure = broken.outcome
        except asyncio.CancelledError:
            self._stopping = True
            self.abort()
            failure = _CLOSED
            raise
        except Exception as error:
            # A bug here or in the clearance: it belongs to whoever waits for the letter.
            failure = lost(f"unexpected {type(error).__name__} on the connection").outcome
            self._wire.abort(Broken(failure))
            if self._job is None:
                raise
            self._job.fail(error)
        finally:
            again = self._settle(failure) if failure else None
            self._pool.closed(self, None if self.ready else failure, again)
            await self._close()

    def wake(self) -> None:
        """Look whether a letter waits."""
        self._wire.wake()

    def take_ahead(self) -> bool:
        """Send the next envelope behind the content under way, if there is place for it."""
        wire = self._wire
        if not self._unheard or self._ahead or wire.pouring or wire.paused or wire.broken:
            return False
        group = self._next_envelope()
        with suppress(Broken):  # `run` hears of it too, and gives the letter its second chance
            self._wire.write(*group)
        return bool(group)

    def note_opening(self, job: Job) -> None:
        """Let a letter's transcript begin with how its connection came about."""
        opening = self._opening if self._begun else self._opening.lines
        job.notes.append((self._wire.clock(), opening))

    def stop(self) -> None:
        """Begin nothing more, and take leave."""
        self._stopping = True
        self._wire.wake()

    def abort(self) -> None:
        """End now."""
        self._stopping = True
        self._wire.abort(Broken(_CLOSED))

    # -- opening -----------------------------------------------------------------------------

    def _use_new_wire(self) -> None:
        self._protocol = LmtpProtocol() if self._settings.lmtp else SmtpProtocol()
        self._wire = Wire(self._protocol, self._hear_verdict)
        self._wire.opening = self._opening

    async def _open(self) -> None:
        try:
            await self._opener.open(self._wire)
        except HandshakeFailed as failure:
            if self._stopping or not self._opener.may_do_without_tls:
                raise
            self._use_new_wire()
            await self._opener.open_without_tls(self._wire, failure)

    # -- between letters ---------------------------------------------------------------------

    @property
    def _spent(self) -> bool:
        """Whether it is to be replaced."""
        settings = self._settings
        return (
            self._stopping
            or self._begun >= settings.max_messages
            or self._clock() - self._born >= settings.max_age
        )

    async def _next(self) -> Job | None:
        """The next letter, or None when the connection is to end."""
        in_time = True
        while not (self._spent or self._wire.broken):
            if job := self._pool.take(self):
                return job
            if not in_time:
                break
            self._fresh = False
            self._pool.rest(self)
            in_time = await self._wire.wait(self._settings.idle_timeout)
        return None

    def _settle(self, failure: Outcome) -> Job | None:
        """End what is on the connection; returns the letter that gets a second chance."""
        job = self._job
        if job is not None and not self.ready:
            self.note_opening(job)
        if job is not None and self._unheard:
            job.finish(self._after_content(failure))
        elif job is not None and failure is not _CLOSED and not self._was_stale(job):
            job.finish(failure)
        left = [job for job in (job, self._ahead) if job is not None and not job.report.done()]
        if left and self._stopping:
            left.pop().withdraw()
        for job in left:
            job.notes.append((self._wire.clock(), str(failure)))
        return left[0] if left else None

    def _was_stale(self, job: Job) -> bool:
        """Whether the failure says nothing but that the connection was no longer there."""
        return not (self._fresh or job.answered)

    def _after_content(self, failure: Outcome) -> Outcome:
        """What a failure means once the content was written."""
        if self._wire.pouring or (self._wire.paused and self._ahead is None):
            return failure  # its end never left this machine
        text = f"the content was sent, its reply never came: {failure.text}"
        return replace(failure, kind=Kind.UNKNOWN, phase=Phase.AFTER, text=text)

    async def _close(self) -> None:
        """Take leave; what goes wrong now concerns nobody."""
        try:
            if self._protocol.may(Command.QUIT):
                await self._ask(self._protocol.send(Command.QUIT), _QUIT)
        except Broken:
            return
        finally:
            self.abort()

    # -- one letter --------------------------------------------------------------------------

    async def _carry(self, job: Job) -> None:
        self._job = job
        if job is self._ahead:
            self._ahead = None
        else:
            self._wire.check()
            if job.retried and not job.wanted:
                job.withdraw()
                return
            group = self._begin(job)
            if group is None:
                return
            self._wire.notes = job.notes
            self._wire.write(*group)
        await self._envelope(job)
        if self._protocol.state is State.DATA:
            if job.open:
                await self._clear(job)
            content: Composed = job.content if job.open else b""
            job.notes.append((self._wire.clock(), len(content)))
            await self._content(content)
        else:
            self._wire.check()  # what came behind the last reply may have been the end
        self._fresh = False
        if job.advance():
            self._pool.put_back(job)

    def _begin(self, job: Job) -> list[bytes] | None:
        """The envelope as one group, nothing in lock-step; None when nothing remains to be sent."""
        self.note_opening(job)
        if not job.adapt(self._protocol):
            return None
        self._begun += 1
        self._resetting = self._protocol.in_transaction
        if not self._pipelining:
            return []
        group = self._protocol.envelope(job.envelope)
        job.notes.append((self._wire.clock(), group))
        return [group]

    def _next_envelope(self) -> list[bytes]:
        """The envelope of the next letter, to be sent ahead; nothing where there is none."""
        if not self._pipelining or self._spent:
            return []
        while job := self._pool.take(self, self._job):
            group = self._begin(job)
            if group:
                self._ahead = job
                return group
        return []

    async def _envelope(self, job: Job) -> None:
        """Hear what the server says to the envelope; in lock-step, say it too."""
        if not self._pipelining:
            await self._envelope_in_lockstep(job)
            return
        wire, recipients = self._wire, job.envelope.recipients
        count = self._resetting + 1 + len(recipients) + 1
        await wire.expect(count, self._settings.patience(_REPLY), _REST)
        if self._resetting:
            wire.pop()
        job.hear(Step.MAIL, wire.pop())
        for to in recipients:
            job.hear(Step.RCPT, wire.pop(), to)
        job.hear(Step.DATA, wire.pop())

    async def _envelope_in_lockstep(self, job: Job) -> None:
        wire, envelope = self._wire, job.envelope
        if self._resetting:
            await self._ask(wire.speaking.send(Command.RSET))
        job.hear(Step.MAIL, await self._ask(wire.speaking.mail(envelope)))
        for to in envelope.recipients:
            if not job.report.done():
                job.hear(Step.RCPT, await self._ask(wire.speaking.rcpt(envelope, to)), to)
        if job.open and not job.report.done():
            job.hear(Step.DATA, await self._ask(wire.speaking.send(Command.DATA), _DATA))

    async def _ask(self, command: bytes, ceiling: float = _REPLY) -> Reply:
        if self._wire.notes is not None:
            self._wire.notes.append((self._wire.clock(), command))
        self._wire.write(command)
        return await self._wire.answer(self._settings.patience(ceiling))

    async def _clear(self, job: Job) -> None:
        """:raises Broken: the letter must not leave any more; after 354 that ends the connection."""
        cleared = not job.report.done() and await job.clearance.content()
        if not cleared or job.report.done():
            job.withdraw()
            self._wire.abort(lost("a letter was withdrawn"))
        self._wire.check()

    async def _content(self, content: Composed) -> None:
        """Send the content, with the next envelope where there is one, and hear the verdict.

        A large one is written piece by piece and nothing in one go with it: as long as some of it waits here, it is
        known that its end has not left.
        """
        content, end = self._protocol.content(content)
        verdicts = self._protocol.verdicts
        if isinstance(content, bytes):
            self._wire.write(content, end, *self._next_envelope())
            self._unheard = verdicts
        else:
            self._unheard = verdicts
            await self._wire.pour(content, end, self._settings.patience(_BLOCK))
        if self._wire.paused:
            await self._wire.drain(self._settings.patience(_BLOCK))
        if self._ahead is None and not self.take_ahead():
            self._pool.has_room(self)
        await self._wire.expect(verdicts, self._settings.patience(_DOT))
        for _ in range(verdicts):
            self._wire.pop()

    def _hear_verdict(self, reply: Reply) -> None:
        self._unheard -= 1
        if self._job is not None:
            self._job.hear(Step.CONTENT, reply)
        if self._unheard:
            return
        self._wire.notes = self._ahead.notes if self._ahead else None
        if self._ahead is None and not self._pool.has_for(self) and not self._spent:
            self._pool.rest(self)  # as good as idle: the next letter needs no other connection
