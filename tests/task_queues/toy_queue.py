"""A task queue of somebody else's: a thread that runs what it is given.

It knows nothing of Flask-Outbox but what :mod:`flask_outbox.tasks` has.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from flask import Flask

from flask_outbox import tasks


class Toy:
    """The queue, and its worker."""

    def __init__(self) -> None:
        self.waiting: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self.options: list[dict[str, Any]] = []
        self.results: list[Any] = []

    def put(self, job: Callable[[], object], **options: Any) -> None:
        self.options.append(options)
        self.waiting.put(job)

    def work(self, app: Flask) -> None:
        """Do what is on it until somebody puts None there; as one of its workers would."""
        with app.app_context():
            tasks.start_relay()
            while (job := self.waiting.get()) is not None:
                self.results.append(job())
            tasks.close()


class ToyTasks(tasks.TaskQueue):
    """What its author ships for the mail."""

    name = "toy"

    def publish(self, ids: Sequence[str], priority: int) -> None:
        toy: Toy = self.find()
        toy.put(lambda: tasks.deliver(ids), **self.options.of_priority(priority))


class ToyLetters(ToyTasks):
    """The same, for those who have no outbox."""

    def publish_letter(self, document: str, priority: int, delay: float) -> None:
        toy: Toy = self.find()

        def run() -> object:
            carried = tasks.deliver_letter(document)
            if carried.again is not None:
                self.publish_letter(carried.again, priority, carried.delay)
            return carried.result

        put = threading.Timer(delay, toy.put, [run], self.options.of_priority(priority))
        put.start()
