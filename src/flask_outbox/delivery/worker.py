"""The worker: claims due deliveries under a lease, hands them to the courier and records what came of it.

The rules it keeps:

1. It claims no more than the transports can take, and what they will take within :data:`.hand.AHEAD` seconds by
   their present speed; no more than so many bytes, but for a single letter; and only while it is the drainer.
2. No content leaves while too many others have left without their results being committed, nor without a lease
   that still runs. So a kill repeats at most one message a connection and twenty more.
3. A result is kept until it is committed, however long the database is away; where the lease was lost meanwhile,
   the ledger changes nothing.
4. Told to stop, it claims no more, lets what is being sent finish, records it and gives the rest back.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from ..errors import OutboxError
from ..ledger.clock import boot_clock
from ..ledger.file import DrainerLock
from ..ledger.store import Claim, Finished, Shift, Store
from ..rules.outcomes import Report
from ..rules.retry import RetryPolicy, decide
from ..rules.states import State
from .asked import Asked, AskedClaimer
from .carriage import Carriage
from .claiming import Claimer
from .courier import Courier, Watcher
from .hand import Hand, Room, Share
from .heartbeat import Heartbeat
from .housekeeping import Housekeeping
from .loop import ThreadQueue
from .news import News
from .pace import Pace
from .recorder import Recorder
from .saying import say_paused, say_shifted
from .settings import WorkerSettings
from .tenure import DRAINER, TASKS, Tenure
from .wakeup import Bell

logger = logging.getLogger("flask_outbox")


@dataclass(frozen=True, slots=True)
class _Round:
    """One look at the lanes.

    :param nothing_due: the look was made and found nothing to do now.
    :param wait: seconds until the next one, unless something happens before.
    """

    wait: float
    claimed: int = 0
    nothing_due: bool = False


class Worker:
    """Drains one outbox. Made and run inside one event loop, once.

    :param lock: the drainer's lock of a SQLite file; None for a server database.
    :param bell: rung by those who store letters, or by the database; None where there is only the poll.
    :param watchers: told of each try, after its commit.
    :param context: entered around the watchers: an application context.
    :param asked: what it is to claim, where that is not all there is: the letters of a task queue's tasks.
    :param alone: whether whoever holds the lock is the only one who claims.
    """

    def __init__(
        self,
        store: Store,
        courier: Courier,
        settings: WorkerSettings,
        *,
        policy: RetryPolicy,
        lock: DrainerLock | None = None,
        bell: Bell | News | None = None,
        watchers: Sequence[Watcher] = (),
        context: Callable[[], AbstractContextManager[object]] = nullcontext,
        asked: Asked | None = None,
        alone: bool = True,
    ) -> None:
        self._store = store
        self._courier = courier
        self._settings = settings
        self._policy = policy
        self._tenure = Tenure(store, lock, role=DRAINER if asked is None else TASKS, alone=alone)
        self._several = lock is None
        self._asked = asked
        self._bell = bell if asked is None else asked
        self._sql = ThreadQueue("flask-outbox-sql")
        self._recorder = Recorder(store, self._sql, watchers, context)
        self._pace = Pace(settings.rate, time.monotonic())
        self._wake = asyncio.Event()
        self._claimer = _claimer(store, settings.lease, self._recorder, asked)
        self._hand = Hand(courier.concurrency, courier.kept, time.monotonic)
        self._heartbeat = Heartbeat(store, self._sql, self._hand, settings)
        keeps = asked is None  # with a task queue that is left to the relay
        self._housekeeping = Housekeeping(
            store, self._sql, settings, lambda: keeps and self.draining
        )
        self._tasks: set[asyncio.Task[None]] = set()
        #: Transports to be paused, until the outbox says so.
        self._pausing: set[str] = set()
        self._looked = 0.0  # at the lanes, by ``time.monotonic``
        #: Whether a letter waits until there are fewer bytes in hand.
        self._full = False
        self._going = True
        #: Whether it is the drainer at this moment, and not about to hand over.
        self.draining = False
        self._once = False
        self._patience = 0.0
        self._said = ""
        #: When it last looked around, by ``time.monotonic``: a watchdog reads it from another thread.
        self.last_tick = time.monotonic()
        #: Whether it was ever the drainer.
        self.drained = False
        #: Set when it begins to drain or to stand by, meets trouble, or is told to stop; cleared by who looks.
        self.changed = asyncio.Event()

    # -- told from outside; from another thread by ``loop.call_soon_threadsafe`` ------------------------------

    def stop(self) -> None:
        """Claim no more, finish what is being sent, give the rest back."""
        self._going = False
        self._wake.set()
        self.changed.set()

    def finish(self, patience: float = 0.0) -> None:
        """Drain what is due, then stop.

        :param patience: seconds to wait for another drainer to give way.
        """
        self._once = True
        self._patience = time.monotonic() + patience
        self._wake.set()

    @property
    def ending(self) -> bool:
        """Whether it was told to stop."""
        return not self._going

    # -- the life of a worker ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until told to stop, or with :meth:`finish` until nothing is due."""
        recording = asyncio.create_task(self._recorder.run(self._recorded, self._shifted))
        beating = asyncio.create_task(self._heartbeat.run())
        keeping = asyncio.create_task(self._housekeeping.run())
        try:
            while self._going:
                if await self._take_over():
                    await self._drain()
                    await self._hand_over()
                    if self._once:
                        break
                elif self._once and time.monotonic() >= self._patience:
                    break
                else:
                    self._wake.clear()
                    await self._sleep(self._settings.poll)
        finally:
            for task in (beating, keeping, recording):
                task.cancel()
            await asyncio.gather(beating, keeping, recording, return_exceptions=True)
            self._tenure.release()
            self._recorder.close()
            self._sql.stop()
            if self._asked is not None:
                self._asked.close()

    async def _take_over(self) -> bool:
        """Become the drainer, or find that somebody else is."""
        self._tick()
        try:
            # First the file: the lock lies beside it.
            await self._sql.run(self._store.check_schema)
            if not self._tenure.acquire():
                self._say_once(logging.INFO, "another worker drains the outbox; this one stands by")
                return False
            await self._sql.run(self._tenure.begin)
        except OutboxError as error:
            self._cannot("use the outbox", error)
            self._tenure.release()
            return False
        if self._bell is not None:
            self._bell.listen(asyncio.get_running_loop(), self._wake.set)
        self.drained, self.draining, self._said = True, True, ""
        self.changed.set()
        if not self._courier.transports:
            logger.error(
                "no mail server is configured, the mail waits: set MAIL_URL or MAIL_SERVER"
            )
        logger.log(
            logging.DEBUG if self._asked is not None else logging.INFO,
            "this worker drains the outbox now%s",
            ", with those of other processes" if self._several else "",
        )
        return True

    def _tick(self) -> None:
        self.last_tick = time.monotonic()
        self._heartbeat.tick()

    def _cannot(self, do: str, error: OutboxError) -> None:
        self._say_once(logging.ERROR, f"the worker cannot {do} and tries again: {error}")
        if self._asked is not None:
            self._asked.fail(error)

    def _say_once(self, level: int, text: str) -> None:
        """Log it, but not at every try."""
        if text != self._said:
            self._said = text
            self.changed.set()
            logger.log(level, text)

    async def _hand_over(self) -> None:
        """Finish or give back what is in hand; then somebody else may drain."""
        self.draining = False
        self._hand.start_nothing()
        if self._bell is not None:
            self._bell.deafen(asyncio.get_running_loop())
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._settings.drain_timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        try:
            async with asyncio.timeout(self._settings.drain_timeout or 1):
                await self._recorder.empty()
            await self._sql.run(self._tenure.end, self._hand.claims)
        except (TimeoutError, OutboxError):
            logger.exception(
                "%d letters could not be given back, their leases run out", len(self._hand)
            )
        self._hand.clear()
        self._tenure.release()

    # -- claiming ----------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Claim and carry until told to stop, to give way, or (with ``finish``) until nothing is due."""
        while self._going:
            self._tick()
            self._wake.clear()
            try:
                if self._tenure.wanted():
                    return
                found = await self._claim_round()
                self._said = ""
            except OutboxError as error:
                self._cannot("claim", error)
                found = _Round(wait=self._settings.poll)
            if found.claimed:
                continue
            if self._once and found.nothing_due and not self._tasks:
                if self._recorder.idle:
                    return
                # A result may open what was closed.
                await self._recorder.empty()
                continue
            await self._sleep(found.wait)

    async def _claim_round(self) -> _Round:
        """Claim what there is room for."""
        await self._heartbeat.follow_clock()
        allowance = self._pace.allowance(time.monotonic())
        if allowance < 1:
            return _Round(wait=self._pace.wait())
        room = self._rooms()
        now = time.monotonic()
        pause = self._looked + room.interval(self._settings.poll) - now
        if pause > 0:
            self._full = room.full
            return _Round(wait=min(pause, self._settings.poll))
        self._looked = now
        deadline = boot_clock() + self._settings.lease
        claims, next_due = await self._sql.run(self._claimer.claim, room, allowance)
        self._full = room.full
        self._pace.take(len(claims))
        for claim in claims:
            self._start(claim, deadline)
        wait = min(self._settings.poll, max(0.0, next_due - self._store.now()))
        nothing_due = not (claims or room.short or room.full)
        return _Round(claimed=len(claims), nothing_due=nothing_due, wait=wait)

    def _rooms(self) -> Room:
        configured = self._courier.transports
        names = {*configured, *self._hand.transports, *self._pausing}
        known = {name: self._room(name) for name in names}
        return Room(
            known,
            spare=self._courier.spare,
            report_unknown=bool(configured),
            bytes=self._settings.max_bytes - self._hand.size,
            empty=not self._hand,
        )

    def _room(self, transport: str) -> Share:
        return Share(0, 0) if transport in self._pausing else self._hand.room(transport)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    # -- carrying ----------------------------------------------------------------------------------------------

    def _start(self, claim: Claim, deadline: float) -> None:
        carriage = Carriage(
            claim,
            deadline=deadline,
            going=self._starting,
            recorder=self._recorder,
            connections=self._courier.connections(claim.transport),
            mark=self._mark,
        )
        self._hand.take(carriage)
        self._feed(claim.transport)

    def _starting(self) -> bool:
        """Whether letters are still started."""
        return self._going and self.draining

    def _feed(self, transport: str) -> None:
        """Hand the transport what it can take."""
        while self._starting() and (carriage := self._hand.next(transport)):
            task = asyncio.create_task(self._carry(carriage))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, carriage: Carriage) -> None:
        claim = carriage.claim
        try:
            report = await self._courier.carry(claim.letter, claim.to, claim.transport, carriage)
        finally:
            self._hand.carried(claim)
        if report:
            result = self._result(carriage, report)
            self._recorder.put(result)
            if result.plan.pause:
                self._pausing.add(claim.transport)
                await self._give_back(self._hand.unstarted(claim.transport))
        else:
            self._recorder.cover(claim.delivery_id)
            await self._give_back([claim])
        self._feed(claim.transport)
        if self._room(claim.transport).of(claim.priority):
            self._wake.set()

    def _result(self, carriage: Carriage, report: Report) -> Finished:
        claim, now = carriage.claim, self._store.now()
        plan = decide(
            report, standing=claim.standing, now=now, policy=self._policy, rng=random.random
        )
        return Finished(claim, report, plan, carriage.started, now)

    async def _mark(self, claim: Claim) -> bool:
        return await self._sql.run(self._store.mark_content_started, claim, self._store.now())

    async def _give_back(self, claims: Sequence[Claim]) -> None:
        self._drop(claims)
        try:
            await self._sql.run(self._store.release, claims, self._store.now())
        except OutboxError as error:
            logger.error("%d letters wait for the end of their leases: %s", len(claims), error)

    def _drop(self, claims: Sequence[Claim], states: Mapping[str, State] | None = None) -> None:
        self._hand.drop(claims)
        if isinstance(self._claimer, AskedClaimer):
            self._claimer.over(claims, states or {})
        if self._full:
            self._wake.set()

    def _recorded(self, results: Sequence[Finished]) -> None:
        states = {result.claim.letter.id: result.plan.state for result in results}
        self._drop([result.claim for result in results], states)
        for result in results:
            if result.plan.pause and result.claim.transport in self._pausing:
                self._pausing.discard(result.claim.transport)
                say_paused(result.claim.transport, result.plan.pause)

    def _shifted(self, shift: Shift) -> None:
        """A transport counts as broken, or no longer does."""
        say_shifted(shift)
        if shift.until is None:
            self._wake.set()
            return
        if unstarted := self._hand.unstarted(shift.transport):
            task = asyncio.create_task(self._give_back(unstarted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


def _claimer(
    store: Store, lease: float, recorder: Recorder, asked: Asked | None
) -> Claimer | AskedClaimer:
    if asked is None:
        return Claimer(store, lease, recorder.tell)
    return AskedClaimer(store, lease, recorder.tell, asked)
