"""A campaign: real workers on a real database are struck at random while mail is sent; each message is accounted for.

What strikes, and when, comes from a seed; the processes do not keep to it exactly, so the same seed gives much the
same fight and not the same run.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from flask_outbox.ledger.store import Store
from flask_outbox.ledger.tables import attempt, delivery
from journeys.accounting import AccountingServer
from servers.process import wait_until

from .application import LEASE
from .databases import Field
from .databases import field as database_of
from .faults import FAULTS, OF_DATABASES, Drops, Scene, in_order
from .people import Sender, Worker

CONNECTIONS = 4
#: Results that may wait for their commit.
UNRECORDED = 20
#: Messages that are on their way when a strike comes, or may be sent then.
FLOW = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be fought.

    :param database: ``"sqlite"``, ``"postgresql"`` or ``"mariadb"``.
    :param faults: how often each of :data:`.faults.FAULTS` is to strike, where it can.
    :param between: messages that the server takes between two strikes, on an average.
    :param longest: seconds that a fault lasts at most.
    """

    database: str
    workers: int
    faults: Mapping[str, int]
    seed: int
    between: int = 40
    longest: float = LEASE + 1


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    plan: Plan
    accepted: int = 0
    #: Accepted, and no copy at the server.
    lost: int = 0
    #: Recorded as accepted by the server more than once, under leases that still ran.
    finished_twice: int = 0
    #: Copies beyond the first of each message.
    repeated: int = 0
    #: Messages whose copies differ.
    differing: int = 0
    #: Messages that arrived, though their sender was never told that they were accepted.
    unsaid: int = 0
    #: Live deliveries that are left at the end.
    left: int = 0
    #: How often a ``send`` raised.
    refused: int = 0
    strikes: Counter[str] = field(default_factory=Counter)
    #: Connections that the mail server dropped, by their step.
    dropped: Counter[str] = field(default_factory=Counter)
    #: What could not strike here.
    left_out: Sequence[str] = ()

    @property
    def allowed(self) -> int:
        """How many copies the promise allows: by each strike, what was on its way of each worker that it hit."""
        most, workers = CONNECTIONS + UNRECORDED, self.plan.workers
        struck = sum(FAULTS[name].struck(workers) * count for name, count in self.strikes.items())
        return most * struck + self.dropped.total()

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        broken = self.lost, self.finished_twice, self.differing, self.left
        breaks = sum(count for name, count in self.strikes.items() if FAULTS[name].unsaid)
        return not any(broken) and self.repeated <= self.allowed and self.unsaid <= breaks


class Campaign:
    """One, from its first process to its last.

    :param folder: of its own.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._chance = random.Random(plan.seed)
        self._outcome = Outcome(plan)
        self._reached = threading.Event()
        self._at, self._victim = 0, 0
        self._drops = Drops()
        self._server = AccountingServer(self._count, self._drops)

    def fight(self) -> Outcome:
        """Strike, wait until all is over, and account."""
        with ExitStack() as running:
            fillable = "full" in self._plan.faults
            field = running.enter_context(
                database_of(self._plan.database, self._folder, fillable=fillable)
            )
            running.enter_context(self._server)
            store = Store(field.url)
            running.callback(store.dispose)
            store.create_schema()
            env = self._environment(field.url)
            workers = [
                Worker(f"worker{number}", self._folder, env) for number in range(self._plan.workers)
            ]
            for worker in workers:
                running.callback(worker.stop)
            sender = Sender(self._folder, env)
            running.callback(sender.stop)
            for strike in self._strikes(field):
                self._strike(strike, workers, sender, field)
            sender.wait()
            self._wait_for_the_end(store, workers)
            self._account(sender, store)
        return self._outcome

    def _environment(self, url: str) -> Mapping[str, str]:
        return {
            "FLASK_APP": "campaign.application:create_app",
            "FLASK_MAIL_URL": f"smtp://127.0.0.1:{self._server.port}?pool={CONNECTIONS}",
            "FLASK_MAIL_DEFAULT_SENDER": "app@example.org",
            "FLASK_MAIL_OUTBOX_URL": url,
            "FLASK_MAIL_RETRY_DELAYS": "[0.2]",
            "FLASK_MAIL_WORKER": "external",
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(self._folder.parent / "bytecode"),
        }

    def _strikes(self, field: Field) -> Sequence[str]:
        """All of them that this database can have."""
        cannot = OF_DATABASES - field.faults
        self._outcome.left_out = sorted(cannot & {*self._plan.faults})
        counts = {name: n for name, n in self._plan.faults.items() if name not in cannot}
        return in_order(counts, self._chance)

    def _strike(self, strike: str, workers: list[Worker], sender: Sender, field: Field) -> None:
        victim = self._chance.choice(workers)
        at_content = strike == "kill" and self._chance.random() < 0.5
        own = random.Random(self._chance.getrandbits(32))
        self._victim = victim.pid if at_content else 0
        self._wait_for_the_moment(own.randint(1, 2 * self._plan.between - 1), workers, sender)
        if not at_content:
            threading.Event().wait(own.uniform(0, 0.02))
        scene = Scene(victim, sender, field, self._drops, own, self._plan.longest)
        FAULTS[strike].strike(scene)
        self._outcome.strikes[strike] += 1

    def _wait_for_the_moment(self, messages: int, workers: list[Worker], sender: Sender) -> None:
        """Return when the server has taken so many more, and others are on their way."""

        def reached() -> bool:
            for worker in workers:
                if worker.pid != self._victim:
                    worker.look_after()
            return self._reached.is_set()

        self._reached.clear()
        self._at = self._server.count + messages
        on_their_way = sender.allowed - len(self._server.copies)
        sender.allow(messages + FLOW - on_their_way)
        wait_until(reached, f"{messages} messages", deadline=120)

    def _count(self, count: int) -> None:
        """In the server's thread, between a content and the reply to it."""
        if count < self._at or self._reached.is_set():
            return
        with suppress(ProcessLookupError):  # whoever finds it dead tells why
            if self._victim:
                os.kill(self._victim, signal.SIGKILL)
        self._reached.set()

    def _wait_for_the_end(self, store: Store, workers: list[Worker]) -> None:
        def over() -> bool:
            for worker in workers:
                worker.look_after()
            return not store.agenda(store.now())

        wait_until(over, "empty outbox", deadline=120)

    def _account(self, sender: Sender, store: Store) -> None:
        outcome, copies = self._outcome, self._server.copies
        arrived = {message_id[1:33] for message_id in copies}
        outcome.accepted, outcome.refused = len(sender.accepted), sender.refused
        outcome.lost = len(sender.accepted - arrived)
        outcome.unsaid = len(arrived - sender.accepted)
        outcome.dropped = self._drops.done
        outcome.repeated = self._server.duplicates
        outcome.differing = sum(len(set(of_one)) > 1 for of_one in copies.values())
        good = (attempt.c.kind == "accepted", attempt.c.lease_lost.is_(False))
        once = select(attempt.c.letter_id).where(*good).group_by(attempt.c.letter_id)
        twice = once.having(func.count() > 1).subquery()
        unsent = select(func.count()).where(delivery.c.state != "sent")
        with store.database.snapshot() as connection:
            counted = select(func.count()).select_from(twice)
            outcome.finished_twice = connection.execute(counted).scalar_one()
            outcome.left = connection.execute(unsent).scalar_one()


def seed_of_today() -> int:
    """``FLASK_OUTBOX_SEED``, or a new one; written down."""
    seed = int(os.environ.get("FLASK_OUTBOX_SEED", random.randrange(1 << 30)))
    print(f"FLASK_OUTBOX_SEED={seed}", file=sys.stderr)
    return seed
