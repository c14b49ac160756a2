"""A campaign against a task queue: its workers are killed, its broker is restarted and made to forget everything."""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from flask_outbox.ledger.store import Store
from servers.process import Process, wait_until
from servers.rabbitmq import RabbitMQ
from servers.redis import Redis

from .campaign import CONNECTIONS, UNRECORDED, Campaign, Outcome, Plan, seed_of_today
from .databases import field as database_of
from .people import Sender

_HEAD = "| engine | broker | database | strikes | messages | lost | finished twice | repeated | allowed |"

#: Messages that are sent ahead of what has arrived, so that the broker has tasks.
AHEAD = 400

#: Children of a worker, each a process with connections of its own.
CHILDREN = 2

#: How a worker of Celery's ends that could not acknowledge a task, for its broker was gone.
_BROKER_LOST = "Unrecoverable error"

#: Kill -9 of what.
KILLS = ("child", "worker")

Broker = Redis | RabbitMQ


def _forget(broker: Broker) -> None:
    if isinstance(broker, Redis):
        broker.flush()
    else:
        broker.purge()


def _restart(broker: Broker) -> None:
    """As a power cut: Redis forgets everything, RabbitMQ what it had not yet kept."""
    broker.kill()
    broker.start()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlan(Plan):
    """What is to be fought.

    :param broker: ``"redis"`` or ``"rabbitmq"``.
    :param messages: how many are sent in all.
    """

    engine: str
    broker: str
    messages: int


@dataclass(slots=True)
class TaskOutcome(Outcome):
    """What came of it."""

    @property
    def allowed(self) -> int:
        """What was on its way in the processes that were killed."""
        struck = self.strikes["child"] + CHILDREN * self.strikes["worker"]
        return (CONNECTIONS + UNRECORDED) * struck

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        broken = self.lost, self.finished_twice, self.differing, self.left, self.unsaid
        return not any(broken) and self.repeated <= self.allowed


class CeleryWorker:
    """A worker of Celery's with its children, and the next one as soon as it was killed."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._log, self._env = folder / "celery.log", env
        self._start()

    def _start(self) -> None:
        self._read = self._log.stat().st_size if self._log.exists() else 0
        options = f"-P prefork -c {CHILDREN} -l INFO --without-gossip --without-mingle".split()
        command = [sys.executable, "-m", "celery", "-A", "campaign.celery_queue", "worker"]
        self._process = Process([*command, *options], log=self._log, env=self._env)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def children(self) -> list[int]:
        """The processes that run its tasks; those that a killed one has left are not yet there again."""
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with suppress(FileNotFoundError):
            return [*map(int, listed.read_text().split())]
        return []

    def kill(self) -> None:
        """Kill -9 it and its children, where that has not been done."""
        self._process.kill()
        self._start()

    def kill_child(self, chance: random.Random) -> None:
        """Kill -9 one child, as soon as there is one."""

        def killed() -> bool:
            self.look_after()
            with suppress(ProcessLookupError, IndexError):
                os.kill(chance.choice(self.children), signal.SIGKILL)
                return True
            return False

        wait_until(killed, "child of the worker")

    def look_after(self) -> None:
        """Start it again where it was killed, or has ended because it lost its broker: a service manager does so.

        :raises RuntimeError: it has ended by itself.
        """
        code = self._process.ended
        if code is None:
            return
        said = self._log.read_bytes()[self._read :].decode(errors="replace")
        if code != -signal.SIGKILL and _BROKER_LOST not in said:
            raise RuntimeError(f"A worker ended by itself with {code}:\n{said[-3000:]}")
        self._process.kill()
        self._start()

    def stop(self) -> None:
        """End it. Asked to, Celery waits half a minute where a child was killed before."""
        self._process.kill()


class TaskCampaign(Campaign):
    """One, from its first process to its last.

    :param plan: its faults are ``child`` and ``worker`` (kill -9), ``restart`` and ``flush`` (of the broker).
    """

    _plan: TaskPlan

    def __init__(self, plan: TaskPlan, folder: Path) -> None:
        super().__init__(plan, folder)
        self._outcome: TaskOutcome = TaskOutcome(plan)

    def fight(self) -> TaskOutcome:
        """Strike, wait until all is over, and account."""
        with ExitStack() as running:
            field = running.enter_context(
                database_of(self._plan.database, self._folder, fillable=False)
            )
            broker: Broker = running.enter_context(
                Redis() if self._plan.broker == "redis" else RabbitMQ()
            )
            running.enter_context(self._server)
            store = Store(field.url)
            running.callback(store.dispose)
            store.create_schema()
            env = {**self._environment(field.url), **self._queue(broker)}
            worker = CeleryWorker(self._folder, env)
            running.callback(worker.stop)
            sender = Sender(self._folder, env)
            running.callback(sender.stop)
            for strike in self._order():
                self._strike_at(strike, worker, sender, broker)
            sender.allow(self._plan.messages - sender.allowed)
            sender.wait()
            self._wait_for_the_end(store, [worker])  # type: ignore[list-item]  # it is looked after alike
            self._account(sender, store)
        return self._outcome

    def _queue(self, broker: Broker) -> Mapping[str, str]:
        return {
            "BROKER": broker.url,
            "FLASK_MAIL_ENGINE": self._plan.engine,
            "FLASK_MAIL_TASK_QUEUE": "campaign.celery_queue:celery",
            "FLASK_MAIL_RELAY_PATIENCE": "3",
        }

    def _order(self) -> Sequence[str]:
        """The kills one among the other, and the broker's faults in the middle of them."""
        kills = [name for name in KILLS for _ in range(self._plan.faults[name])]
        self._chance.shuffle(kills)
        of_broker = [name for name in ("restart", "flush") for _ in range(self._plan.faults[name])]
        self._chance.shuffle(of_broker)
        quarter = len(kills) // 4
        for place, fault in enumerate(of_broker):
            kills.insert(quarter + (2 * quarter * (place + 1)) // (len(of_broker) + 1), fault)
        return kills

    def _strike_at(self, strike: str, worker: CeleryWorker, sender: Sender, broker: Broker) -> None:
        # At a moment that comes by chance, or between a content and the reply to it.
        self._victim, self._struck = 0, False
        if strike in KILLS and self._chance.random() < 0.5:
            victims = worker.children if strike == "child" else [worker.pid]
            self._victim = self._chance.choice(victims or [0])
        strikes = sum(self._plan.faults.values())
        messages = self._chance.randint(1, self._plan.messages // (strikes + 1))
        self._wait_for(messages, worker, sender)
        if not self._struck:
            threading.Event().wait(self._chance.uniform(0, 0.02))
        if strike == "worker":
            worker.kill()
        elif strike == "child" and not self._struck:
            worker.kill_child(self._chance)
        elif strike in _FAULTS:
            _FAULTS[strike](broker)
        self._outcome.strikes[strike] += 1

    def _wait_for(self, messages: int, worker: CeleryWorker, sender: Sender) -> None:
        """Return when the server has taken so many more; as many are sent, and some ahead."""

        def reached() -> bool:
            worker.look_after()
            ahead = sender.allowed - len(self._server.copies)
            left = self._plan.messages - sender.allowed
            sender.allow(min(left, AHEAD - ahead))
            return self._reached.is_set()

        self._reached.clear()
        self._at = self._server.count + messages
        wait_until(reached, f"{messages} messages", deadline=120)

    def _count(self, count: int) -> None:
        if count < self._at or self._reached.is_set():
            return
        with suppress(ProcessLookupError):  # a child that has ended since: another one is killed
            if self._victim:
                os.kill(self._victim, signal.SIGKILL)
                self._struck = True
        self._reached.set()


_FAULTS: Mapping[str, Callable[[Broker], None]] = {"restart": _restart, "flush": _forget}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev campaign", description=__doc__)
    parser.add_argument("--engine", choices=["celery"], required=True)
    parser.add_argument("--broker", nargs="+", default=["redis", "rabbitmq"])
    parser.add_argument("--database", nargs="+", default=["sqlite"])
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20, help="half of them of a worker's children")
    chosen = parser.parse_args()
    faults = {
        "child": (chosen.kills + 1) // 2,
        "worker": chosen.kills // 2,
        "restart": 1,
        "flush": 1,
    }
    seed, broken = seed_of_today(), 0
    print(_HEAD, "|---" * 9 + "|", sep="\n", flush=True)
    for broker in chosen.broker:
        for database in chosen.database:
            plan = TaskPlan(
                database,
                CHILDREN,
                faults,
                seed,
                engine=chosen.engine,
                broker=broker,
                messages=chosen.messages,
            )
            with tempfile.TemporaryDirectory(prefix="flask-outbox-campaign-") as parent:
                folder = Path(parent, "campaign")
                folder.mkdir()
                outcome = TaskCampaign(plan, folder).fight()
            print(_line(plan, outcome), flush=True)
            broken += not outcome.kept
    return 1 if broken else 0


def _line(plan: TaskPlan, outcome: TaskOutcome) -> str:
    cells = (
        plan.engine,
        plan.broker,
        plan.database,
        ", ".join(f"{count} {strike}" for strike, count in sorted(outcome.strikes.items())),
        outcome.accepted,
        outcome.lost,
        outcome.finished_twice,
        outcome.repeated,
        outcome.allowed,
    )
    return f"| {' | '.join(map(str, cells))} |"
