"""The letters that the tasks of a queue ask for: each task waits until what it named is dealt with.

What all tasks of a process name at the moment is claimed together, so that many small ones share transactions and
connections.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import inf

from ..ledger.claims import Ended, Lane
from ..ledger.store import Claim, Store
from ..ledger.tasks import Place, TaskLedger
from ..rules.states import LIVE, State
from .hand import Room
from .native import native

#: Seconds that a task waits for a lane that opens soon, and for an outbox that cannot be used.
PATIENCE = 5.0

#: Seconds within which a lane opens soon.
_OPENS_SOON = 1.0

#: Seconds until another look at what somebody else may have in hand.
_SOON = 0.05

#: Seconds between two looks for dead workers.
_BETWEEN_RESCUES = 1.0

#: What is told of a letter that is not there.
UNKNOWN = "unknown"

#: What is told of one that this process has left for another time.
LEFT = "left"


@dataclass(eq=False, slots=True)
class Task:
    """One that waits.

    :param asked: the ids of the letters that it still waits for.
    :param since: when it came, by ``time.monotonic``.
    """

    asked: set[str]
    since: float
    told: dict[str, str] = field(default_factory=dict)
    done: Future[Mapping[str, str]] = field(default_factory=Future)


class Asked:
    """What tasks ask for and what they are told. It is rung like a bell; tasks may come from any thread."""

    def __init__(self) -> None:
        # Never held while anything else is waited for.
        self._lock = native("_thread", "allocate_lock")()
        self._tasks: list[Task] = []
        self._ring: Callable[[], object] | None = None
        self._closed = False

    def ask(self, letters: Iterable[str]) -> Future[Mapping[str, str]]:
        """Have letters carried that are due.

        :returns: for each id the state in which it was left.
        """
        task = Task(set(letters), time.monotonic())
        with self._lock:
            ring, closed = self._ring, self._closed or not task.asked
            if not closed:
                self._tasks.append(task)
        if closed:
            task.done.set_result(dict.fromkeys(task.asked, LEFT))
        elif ring is not None:
            ring()
        return task.done

    @property
    def letters(self) -> dict[str, float]:
        """All that are asked for, each with when that was first."""
        with self._lock:
            found: dict[str, float] = {}
            for task in self._tasks:
                for letter in task.asked:
                    found.setdefault(letter, task.since)
            return found

    def tell(self, states: Mapping[str, str]) -> None:
        """What became of letters."""
        with self._lock:
            for task in self._tasks:
                for letter in task.asked & states.keys():
                    task.told[letter] = states[letter]
                    task.asked.discard(letter)
            done = [task for task in self._tasks if not task.asked]
            self._tasks = [task for task in self._tasks if task.asked]
        for task in done:
            task.done.set_result(task.told)

    def fail(self, error: Exception) -> None:
        """Nothing can be claimed now: whoever has waited for long need not wait for the end of that."""
        late = time.monotonic() - PATIENCE
        with self._lock:
            failed = [task for task in self._tasks if task.since < late]
            self._tasks = [task for task in self._tasks if task.since >= late]
        for task in failed:
            task.done.set_exception(error)

    # -- as a bell ---------------------------------------------------------------------------------------------

    def listen(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], object]) -> None:
        """Call ``wake`` on the loop whenever a task comes."""
        with self._lock:
            self._ring = lambda: loop.call_soon_threadsafe(wake)

    def deafen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take no more."""
        with self._lock:
            self._ring, self._closed = None, True

    def close(self) -> None:
        """Whoever still waits is told that it is left."""
        self.tell(dict.fromkeys(self.letters, LEFT))


class AskedClaimer:
    """As :class:`.claiming.Claimer`, of what is asked for alone.

    :param lease: seconds.
    :param tell: told of those that ended instead of being claimed.
    """

    def __init__(
        self, store: Store, lease: float, tell: Callable[[Sequence[Ended]], None], asked: Asked
    ) -> None:
        self._store = store
        self._ledger = TaskLedger(store)
        self._lease = lease
        self._tell = tell
        self._asked = asked
        self._rescued = -inf  # when the dead were looked for last, by ``time.monotonic``
        #: How many deliveries of a letter are in hand.
        self._in_hand: Counter[str] = Counter()

    def claim(self, room: Room, allowance: float) -> tuple[list[Claim], float]:
        """Look where the asked for stand, and claim what is due and open.

        :returns: the claims, and when to look again.
        """
        asked = {id: since for id, since in self._asked.letters.items() if not self._in_hand[id]}
        if not asked:
            return [], inf
        now = self._store.now()
        lanes = {(lane.lane, lane.priority): lane for lane in self._store.agenda(now)}
        places = self._places(asked, now)
        look = _Look(room, allowance, now)
        due: defaultdict[tuple[int, str], set[str]] = defaultdict(set)
        for place in places:
            if place.state in LIVE and place.due <= now:
                due[place.priority, place.lane].add(place.letter_id)
        for priority, lane in sorted(due):
            self._claim(lane, priority, due[priority, lane], lanes.get((lane, priority)), look)
        self._in_hand.update(claim.letter.id for claim in look.claims)
        patient = time.monotonic() - PATIENCE
        waiting = look.waiting | {id for id in look.closed if asked[id] > patient}
        settled = asked.keys() - waiting - self._in_hand.keys()
        states = {place.letter_id: str(place.state) for place in places}
        self._asked.tell({id: states.get(id, UNKNOWN) for id in settled})
        return look.claims, look.again

    def _places(self, asked: Iterable[str], now: float) -> list[Place]:
        """Where they stand, once what dead ones of this machine had in hand is free."""
        places = self._ledger.places(asked)
        held = any(place.state is State.SENDING and place.due > now for place in places)
        if held and time.monotonic() - self._rescued > _BETWEEN_RESCUES:
            self._rescued = time.monotonic()
            if self._store.rescue_dead(now):
                return self._ledger.places(asked)
        return places

    def _claim(
        self, name: str, priority: int, due: set[str], lane: Lane | None, look: _Look
    ) -> None:
        """Claim what there is room for, of the letters that are due on a lane; note what goes on waiting."""
        transport, room = name.partition(" ")[0], look.room
        if lane is None or lane.paused:
            look.shut(due, lane.opens if lane else None)
            return
        most = int(min(room.of(transport, priority), look.allowance - len(look.claims)))
        if most < 1 or not room.offered(transport, priority):
            look.waiting |= due
            return
        opens: list[float] = []
        found = self._store.claim(
            name,
            priority,
            most,
            now=look.now,
            lease=self._lease,
            budget=room.bytes,
            one_always=room.empty,
            tell=self._tell,
            shut=opens.append,
            letters=sorted(due),
        )
        room.full = room.full or not (found or opens or room.empty)
        room.take(transport, priority, found)
        look.claims += found
        left = due.difference(claim.letter.id for claim in found)
        if opens:
            look.shut(left, opens[0])
        elif left:
            # There was too little room, they have ended by the claim, or somebody else was quicker: seen then.
            look.waiting |= left
            look.again = min(look.again, look.now + _SOON)

    # -- told by the worker ------------------------------------------------------------------------------------

    def over(self, claims: Iterable[Claim], states: Mapping[str, State]) -> None:
        """Claims are out of hand.

        :param states: by letter; what is not named was given back.
        """
        for claim in claims:
            letter = claim.letter.id
            self._in_hand[letter] -= 1
            if self._in_hand[letter] <= 0:
                del self._in_hand[letter]
                self._asked.tell({letter: str(states.get(letter, LEFT))})


@dataclass(slots=True)
class _Look:
    """One look.

    :param waiting: the letters that tasks go on waiting for.
    :param closed: those that they wait for if they have not waited long.
    :param again: when to look again, Unix seconds.
    """

    room: Room
    allowance: float
    now: float
    claims: list[Claim] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    again: float = inf

    def shut(self, letters: set[str], opens: float | None) -> None:
        """Their lane lets nothing out now, and may open soon."""
        if opens is not None and opens <= self.now + _OPENS_SOON:
            self.closed |= letters
            self.again = min(self.again, opens)
