"""What can befall those who take part, and what each of it may cost.

A fault is done at a moment that the campaign chooses, and is over when its function returns; dropped SMTP connections
alone are only ordered by it.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from journeys.accounting import When
from servers.process import wait_until

from .application import LEASE
from .databases import Field, ServerField
from .people import Sender, Worker

#: The steps of a connection that it can be dropped at.
STEPS = ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "MIDDLE", "CONTENT")


class Drops:
    """Which connections the mail server is to drop; each order is carried out once, by the first that comes to it."""

    def __init__(self) -> None:
        self._ordered: list[tuple[str, When]] = []
        #: Those that were dropped, by their step.
        self.done: Counter[str] = Counter()

    def order(self, chance: random.Random) -> None:
        """Let a few be dropped at once, or as soon as there is one at the step."""
        for _ in range(chance.randint(1, 4)):
            self._ordered.append((chance.choice(STEPS), chance.choice(list(When))))

    def __call__(self, step: str) -> When | None:
        """In the server's thread, at each step."""
        for one in self._ordered:
            if one[0] == step:
                self._ordered.remove(one)
                self.done[step] += 1
                return one[1]
        return None


@dataclass(frozen=True, slots=True)
class Scene:
    """Whoever and whatever can be struck.

    :param victim: the worker whose turn it is.
    :param chance: by which all that is left open is decided; the next strike has another.
    :param longest: seconds that a fault lasts at most, if it lasts.
    """

    victim: Worker
    sender: Sender
    field: Field
    drops: Drops
    chance: random.Random
    longest: float

    @property
    def server(self) -> ServerField:
        assert isinstance(self.field, ServerField)
        return self.field

    def last(self) -> None:
        """Let the fault last, until a send was refused at least."""
        before = self.sender.refused

        def refused() -> bool:
            self.sender.allow(10)
            return self.sender.refused > before

        wait_until(refused, "send that is refused")
        threading.Event().wait(self.chance.uniform(0, self.longest))


def _exhaust(scene: Scene) -> None:
    with scene.server.exhausted():
        scene.last()


def _fill(scene: Scene) -> None:
    with scene.field.full():
        scene.last()


@dataclass(frozen=True, slots=True)
class Fault:
    """One of them.

    :param strike: does it.
    :param struck: of so many workers, those whose contents on the way may be sent again after one.
    :param unsaid: whether a send that it breaks off may be stored without the sender having been told.
    :param share: how many there are for each kill, where nobody says otherwise.
    """

    strike: Callable[[Scene], None]
    struck: Callable[[int], int] = lambda workers: 0
    unsaid: bool = False
    share: float = 0.1


def _of_others(workers: int) -> int:
    """Those that others may believe dead; who is alone forgets nothing of what it has sent."""
    return workers if workers > 1 else 0


FAULTS: Mapping[str, Fault] = {
    "kill": Fault(lambda scene: scene.victim.kill(), lambda workers: 1, share=1.0),
    "sender": Fault(lambda scene: scene.sender.kill(), unsaid=True),
    "freeze": Fault(
        lambda scene: scene.victim.freeze(LEASE + 1), lambda workers: min(1, _of_others(workers))
    ),
    # It costs by the connection.
    "drop": Fault(lambda scene: scene.drops.order(scene.chance), share=0.5),
    "cut": Fault(lambda scene: scene.server.cut(scene.chance), unsaid=True, share=0.5),
    "restart": Fault(lambda scene: scene.server.restart(), _of_others, unsaid=True),
    "exhaust": Fault(_exhaust, _of_others, unsaid=True),
    "full": Fault(_fill, _of_others, unsaid=True),
}

#: Of what befalls a database, what not every one can have.
OF_DATABASES = {"restart", "cut", "exhaust", "full"}


def in_order(counts: Mapping[str, int], chance: random.Random) -> Sequence[str]:
    """All of them, one among the others."""
    every = [name for name in FAULTS for _ in range(counts.get(name, 0))]
    chance.shuffle(every)
    return every
