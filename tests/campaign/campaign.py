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
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from flask_outbox.ledger.store import Store
from flask_outbox.ledger.tables import attempt, delivery
from journeys.accounting import AccountingServer
from servers.process import wait_until

from .application import LEASE
from .databases import field as database_of
from .people import Sender, Worker

CONNECTIONS = 4
#: Results that may wait for their commit.
UNRECORDED = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be fought.

    :param database: ``"sqlite"``, ``"postgresql"`` or ``"mariadb"``.
    :param kills: of workers; other strikes come between them.
    :param between: messages that the server takes between two strikes.
    """

    database: str
    workers: int
    kills: int
    seed: int
    between: int = 40


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
    #: Live deliveries that are left at the end.
    left: int = 0
    strikes: Counter[str] = field(default_factory=Counter)

    @property
    def allowed(self) -> int:
        """How many copies the promise allows: by each strike, what was on its way of each worker that it hit."""
        most = CONNECTIONS + UNRECORDED
        of_all = self.strikes["restart"] * self.plan.workers
        return most * (self.strikes["kill"] + self.strikes["freeze"] + of_all)

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        broken = self.lost, self.finished_twice, self.differing, self.left
        return not any(broken) and self.repeated <= self.allowed


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
        self._server = AccountingServer(self._count)

    def fight(self) -> Outcome:
        """Strike, wait until all is over, and account."""
        with ExitStack() as running:
            url, restart = running.enter_context(database_of(self._plan.database, self._folder))
            running.enter_context(self._server)
            store = Store(url)
            running.callback(store.dispose)
            store.create_schema()
            env = self._environment(url)
            workers = [
                Worker(f"worker{number}", self._folder, env) for number in range(self._plan.workers)
            ]
            for worker in workers:
                running.callback(worker.stop)
            strikes = self._strikes(restart is not None)
            sender = Sender(self._plan.between * len(strikes), self._folder, env)
            for strike in strikes:
                self._strike(strike, workers, sender, restart)
            sender.wait()
            self._outcome.accepted = len(sender.accepted)
            self._wait_for_the_end(store, workers)
            self._account(sender.accepted, store)
        return self._outcome

    def _environment(self, url: str) -> Mapping[str, str]:
        return {
            "FLASK_APP": "campaign.application:create_app",
            "FLASK_MAIL_URL": f"smtp://127.0.0.1:{self._server.port}?pool={CONNECTIONS}",
            "FLASK_MAIL_DEFAULT_SENDER": "app@example.org",
            "FLASK_MAIL_OUTBOX_URL": url,
            "FLASK_MAIL_WORKER": "external",
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(self._folder / "bytecode"),
        }

    def _strikes(self, has_server: bool) -> list[str]:
        """All of them, the kills among others."""
        every = ["kill"] * self._plan.kills
        others = ["sender"] + ["freeze"] * (self._plan.workers > 1) + ["restart"] * has_server
        for number in range(self._plan.kills // 5):
            every.insert(self._chance.randrange(len(every) + 1), others[number % len(others)])
        return every

    def _strike(self, strike: str, workers: list[Worker], sender: Sender, restart: object) -> None:
        victim = self._chance.choice(workers)
        at_content = strike == "kill" and self._chance.random() < 0.5
        self._victim = victim.pid if at_content else 0
        self._reached.clear()
        self._at = self._server.count + self._chance.randint(1, 2 * self._plan.between - 1)
        # Fewer may be left than it waits for.
        while not self._reached.wait(0.05) and not sender.over:
            for worker in workers:
                if worker.pid != self._victim:
                    worker.check_alive()
        if not at_content:
            threading.Event().wait(self._chance.uniform(0, 0.02))
        if strike == "kill":
            victim.kill()
        elif strike == "freeze":
            victim.freeze(LEASE + 1)
        elif strike == "sender":
            sender.kill()
        elif callable(restart):
            restart()
        self._outcome.strikes[strike] += 1

    def _count(self, count: int) -> None:
        """In the server's thread, between a content and the reply to it."""
        if count < self._at or self._reached.is_set():
            return
        self._reached.set()
        with suppress(ProcessLookupError):  # whoever finds it dead tells why
            if self._victim:
                os.kill(self._victim, signal.SIGKILL)

    def _wait_for_the_end(self, store: Store, workers: list[Worker]) -> None:
        def over() -> bool:
            for worker in workers:
                worker.check_alive()
            return not store.agenda(store.now())

        wait_until(over, "empty outbox", deadline=120)

    def _account(self, accepted: set[str], store: Store) -> None:
        outcome, copies = self._outcome, self._server.copies
        arrived = {message_id[1:33] for message_id in copies}
        outcome.lost = len(accepted - arrived)
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
