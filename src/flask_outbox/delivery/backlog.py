"""Letters that are kept in memory until they are sent, and are lost with the process.

How many there may be is bounded, and decided in the caller's thread. Everything else happens on the loop:

1. A letter waits until it is due, and then for room on its transport; of two that wait, the more urgent goes first,
   and some of the room is kept for urgent ones.
2. What is deferred is tried again by the policy, until its lifetime is over: memory is no place to stay for days.
3. Where an account is at fault, its transport rests for one of the policy's delays, longer each time, and then only
   one letter tries it. Nobody can resume it by hand.
4. At the end, what is due is sent, and what waits for another try has a last one. The rest is stored, where there is
   an outbox for it, or lost, and told to the watchers as such.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from ..errors import MailError
from ..mail.letter import Letter, Terms
from ..rules.outcomes import Kind, Outcome, Phase, Report, Scope
from ..rules.retry import AT_MOST_ONCE, Plan, RetryPolicy, Standing, decide
from ..rules.states import RecipientState, State
from .carriage import URGENT
from .native import FOREVER
from .settings import BacklogSettings
from .space import Space, Waiting
from .telling import Told

if TYPE_CHECKING:
    from .courier import Courier
    from .process import Process

logger = logging.getLogger("flask_outbox")

#: For what is kept in memory: sooner than what is stored is tried again, and for an hour.
HASTY = RetryPolicy(delays=(2, 10, 30, 120, 300), lifetime=3_600)

#: Seconds that a caller waits for room at most.
PATIENCE = 10.0

_EXPIRED = Outcome(Kind.DEFERRED, Scope.MESSAGE, text="It expired before it could be sent.")
_LOST = Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="The process ended before it was sent.")
_CUT_OFF = Outcome(
    Kind.UNKNOWN, Scope.TRANSPORT, Phase.AFTER, text="The process ended before the answer came."
)

_order = itertools.count()


@dataclass(eq=False, slots=True)
class Kept:
    """A letter in memory; the clearance that its transport asks for, too.

    :param to: the recipients that are still open.
    :param leaving: whether its content may have left, without an answer so far.
    :param timer: runs while it is not yet due.
    """

    letter: Letter
    terms: Terms
    to: tuple[str, ...]
    created: float
    urgent: bool
    attempts: int = 0
    finished: dict[str, RecipientState] = field(default_factory=dict)
    leaving: bool = False
    timer: asyncio.TimerHandle | None = None

    def expires(self, lifetime: float) -> float:
        own = self.terms.expires
        return max(self.created, self.terms.due or 0) + lifetime if own is None else own

    def valid(self) -> bool:
        return self.terms.expires is None or time.time() < self.terms.expires

    async def content(self) -> bool:
        self.leaving = True
        return True


class Backlog:
    """What one process keeps in memory.

    :param process: whose loop it is carried on.
    :param tell: told of each try, and of each loss; called on the loop and in the thread that closes it.
    :param store: takes what is left at the end; None where there is no outbox.
    """

    def __init__(
        self,
        process: Process,
        courier: Courier,
        settings: BacklogSettings,
        *,
        tell: Callable[[Told], object],
        store: Callable[[Sequence[tuple[Letter, Terms]]], object] | None = None,
        policy: RetryPolicy = HASTY,
        patience: float = PATIENCE,
    ) -> None:
        self._process = process
        self._courier = courier
        self._policy = policy
        self._patience = patience
        self._tell = tell
        self._store = store
        self.space = Space(settings)
        # The loop's own.
        self._kept: dict[Kept, None] = {}
        self._ready: defaultdict[str, list[tuple[int, int, Kept]]] = defaultdict(list)
        self._carrying: Counter[str] = Counter()
        self._bulk: Counter[str] = Counter()  # those of them that are not urgent
        self._tasks: set[asyncio.Task[None]] = set()
        self._faults: Counter[str] = Counter()
        self._resting: set[str] = set()
        self._ending = False
        self._progress = asyncio.Event()

    # -- from any thread ---------------------------------------------------------------------------------------

    def put(self, batch: Sequence[tuple[Letter, Terms]], *, wait: bool) -> Future[None] | None:
        """Take letters over, all of them or none.

        :param wait: whether to wait for room, as long as patience lasts.
        :returns: a future that is done once they are taken, or fails with :exc:`BacklogFullError`; it cannot be
            cancelled. None where there is no room, and nobody is to wait for it.
        """
        now, letters = time.time(), [letter for letter, _ in batch]
        kept = [
            Kept(letter, terms, letter.envelope_to, now, terms.priority == URGENT)
            for letter, terms in batch
        ]
        if self.space.take(letters):
            taken: Future[None] = Future()
            taken.set_result(None)
            self._process.call(self._take, kept)
            return taken
        if not wait:
            return None
        waiting = self.space.wait(letters, partial(self._take, kept))
        self._process.call(self._await_room, waiting)
        return waiting.taken

    def close(self, timeout: float) -> None:
        """Send what can be sent within that time, and account for the rest; not on the loop."""
        if not len(self.space):
            return
        left = self._process.spawn(self._drain(timeout)).result(FOREVER)
        if left and self._store is not None:
            left = self._save(left)
        if left:
            logger.error(
                "%d letter(s) are lost: the process ended before they were sent. MAIL_DRAIN_TIMEOUT gives it more"
                " time; the outbox engine, or MAIL_BACKGROUND_OVERFLOW='spill', loses none",
                len(left),
            )
        for one in left:
            report = Report.of(one.to, _CUT_OFF if one.leaving else _LOST)
            self._tell((one.letter, report, Plan(State.DEAD, "lost at exit")))

    def _save(self, left: list[Kept]) -> list[Kept]:
        """Store what may be sent by another process.

        :returns: what may not, or was not taken.
        """
        assert self._store is not None
        safe = [one for one in left if not one.leaving or one.terms.guarantee != AT_MOST_ONCE]
        if not safe:
            return left
        try:
            self._store([(replace(one.letter, envelope_to=one.to), one.terms) for one in safe])
        except MailError as error:
            logger.error("the outbox did not take what is left: %s", error)
            return left
        logger.warning(
            "%d letter(s) were left in memory and are stored in the outbox now", len(safe)
        )
        return [one for one in left if one not in safe]

    # -- on the loop -------------------------------------------------------------------------------------------

    def _await_room(self, waiting: Waiting) -> None:
        asyncio.get_running_loop().call_later(self._patience, self.space.turn_away, waiting)
        self._let_in()  # there may be room by now

    def _let_in(self) -> None:
        while waiting := self.space.next():
            waiting.taken.set_result(None)
            waiting.enter()

    def _take(self, kept: Sequence[Kept]) -> None:
        for one in kept:
            self._kept[one] = None
            self._schedule(one, one.terms.due or 0)

    def _schedule(self, one: Kept, due: float) -> None:
        if (delay := due - time.time()) > 0:
            one.timer = asyncio.get_running_loop().call_later(delay, self._queue, one)
        else:
            self._queue(one)

    def _queue(self, one: Kept) -> None:
        one.timer = None
        transport = one.terms.transport
        heappush(self._ready[transport], (one.terms.priority, next(_order), one))
        self._feed(transport)

    def _feed(self, transport: str) -> None:
        """Hand the transport what it can take."""
        while (ready := self._ready.get(transport)) and self._has_room(transport, ready[0][2]):
            one = heappop(ready)[2]
            if not ready:
                del self._ready[transport]
            if time.time() >= one.expires(self._policy.lifetime):
                self._settle(one, Report())
                continue
            self._carrying[transport] += 1
            self._bulk[transport] += not one.urgent
            task = asyncio.get_running_loop().create_task(self._carry(one))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _has_room(self, transport: str, one: Kept) -> bool:
        """Whether the transport can take that letter; some of its room is kept for urgent ones."""
        if transport in self._resting:
            return False
        if self._faults[transport]:
            return not self._carrying[transport]
        most = self._courier.concurrency(transport)
        others = most - self._courier.kept(transport)
        return self._carrying[transport] < most and (one.urgent or self._bulk[transport] < others)

    async def _carry(self, one: Kept) -> None:
        terms = one.terms
        try:
            report = await self._courier.carry(one.letter, one.to, terms.transport, one, terms.url)
        finally:
            self._carrying.subtract((terms.transport,))
            self._carrying = +self._carrying
            self._bulk[terms.transport] -= not one.urgent
            self._bulk = +self._bulk
        one.leaving = False
        self._settle(one, report)
        self._feed(terms.transport)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._progress.set()

    def _settle(self, one: Kept, report: Report) -> None:
        """Draw the conclusions of a try; an empty report means that it had expired."""
        report = report or Report.of(one.to, _EXPIRED)
        now, expires = time.time(), one.expires(self._policy.lifetime)
        standing = Standing(
            one.attempts,
            one.created,
            expires,
            one.terms.guarantee,
            one.finished,
            one.terms.transport,
            one.letter.retry_delays,
        )
        plan = decide(report, standing=standing, now=now, policy=self._policy, rng=random.random)
        one.attempts += plan.counts
        one.to = plan.open
        one.finished |= {to: state for to, (state, _) in plan.finished.items()}
        self._tell((one.letter, report, plan))
        if plan.due is None:
            self._forget(one)
        elif plan.pause:
            self._rest(one.terms.transport)
            self._queue(one)
        else:
            self._faults.pop(one.terms.transport, None)
            if not self._ending:
                self._schedule(one, plan.due)
        self._progress.set()

    def _forget(self, one: Kept) -> None:
        del self._kept[one]
        self.space.free(one.letter)
        self._let_in()

    def _rest(self, transport: str) -> None:
        """Let a transport rest whose account is at fault."""
        if transport in self._resting:
            return
        self._resting.add(transport)
        self._faults[transport] += 1
        delay = self._policy.delay(self._faults[transport], random.random)
        asyncio.get_running_loop().call_later(delay, self._resume, transport)

    def _resume(self, transport: str) -> None:
        self._resting.discard(transport)
        self._feed(transport)

    # -- the end -----------------------------------------------------------------------------------------------

    async def _drain(self, timeout: float) -> list[Kept]:
        """Send what can be sent within that time.

        :returns: what could not.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        self._ending, self._progress = True, asyncio.Event()
        for one in list(self._kept):
            if one.timer is not None and one.attempts:
                one.timer.cancel()
                self._queue(one)
        try:
            async with asyncio.timeout_at(end):
                while self._hopeful(end):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            pass
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        return self._clear()

    def _hopeful(self, end: float) -> bool:
        """Whether anything more may be sent by then."""
        if self._tasks:
            return True
        return any(one.timer is not None and one.timer.when() <= end for one in self._kept)

    def _clear(self) -> list[Kept]:
        self.space.turn_all_away()
        left = list(self._kept)
        for one in left:
            if one.timer is not None:
                one.timer.cancel()
        # What comes after this may come on another loop.
        self._ready.clear()
        self._resting.clear()
        self._ending = False
        for one in left:
            self._forget(one)
        return left
