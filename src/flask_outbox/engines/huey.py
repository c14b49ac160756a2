"""Huey: its tasks send the mail (``MAIL_ENGINE = "huey"``), on Redis, SQLite or another storage.

They are made by ``Mail(app)``, so the Huey has to be there then for its consumer to know them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from inspect import signature
from typing import Any
from weakref import WeakSet

from huey.api import Huey, Task, TaskWrapper
from huey.exceptions import RetryTask
from huey.utils import normalize_time

from ..errors import ConfigurationError
from .parcel import id_of
from .task_queue import Host, TaskOptions, TaskQueue, host_of, using

logger = logging.getLogger("flask_outbox")

#: What the tasks are called, behind ``flask_outbox.``
DELIVER, DELIVER_LETTER = "deliver", "deliver_letter"

#: How often a task that carries a letter is run again when it could not try it, and after how many seconds.
RETRIES, RETRY_DELAY = 20, 60

#: What ``MAIL_TASK_OPTIONS`` may have: the options that a task is scheduled with.
_OPTIONS = signature(TaskWrapper.schedule).parameters.keys() - {
    *("self", "args", "kwargs", "eta", "delay", "id")
}

_queues: WeakSet[HueyQueue] = WeakSet()

#: The tasks of each Huey, which is one of the process, as they are.
_tasks: dict[Huey, dict[str, TaskWrapper]] = {}


class HueyQueue(TaskQueue):
    """Huey, on any storage of its."""

    name = "huey"

    def __init__(self, host: Host, find: Callable[[], Any], options: TaskOptions) -> None:
        super().__init__(host, find, options)
        options.check(_OPTIONS)
        if (given := find()) is not None:
            _made(_check(given))
        _queues.add(self)

    def publish(self, ids: Sequence[str], priority: int) -> None:
        """Put a task on the queue that names letters."""
        self._send(DELIVER, list(ids), priority)

    def publish_letter(self, document: str, priority: int, delay: float) -> None:
        """Put a task on the queue that carries a letter; its id is the letter's."""
        eta = normalize_time(delay=delay, utc=_check(self.find()).utc) if delay else None
        self._send(DELIVER_LETTER, document, priority, id=id_of(document), eta=eta)

    def _send(self, task: str, argument: Any, priority: int, **own: Any) -> None:
        huey = _check(self.find())
        kind: type[Task] = _made(huey)[task].task_class
        one = kind((argument,), **self.options.of_priority(priority), **own)
        with self.host.context() if huey.immediate else nullcontext():
            huey.enqueue(one)

    def check(self) -> str:
        """Ask the storage for a sign of life."""
        huey = _check(self.find())
        return f"{type(huey).__name__} {huey.name!r}, {huey.pending_count()} wait"


QUEUE = HueyQueue


def _check(given: Any) -> Any:
    """:raises ConfigurationError: it is no Huey."""
    if not isinstance(given, Huey):
        raise ConfigurationError(
            f"'MAIL_TASK_QUEUE' must be a Huey with MAIL_ENGINE='huey', not {given!r}."
        )
    return given


def _host(huey: Huey) -> Host:
    return host_of(_queues, lambda queue: queue.find() is huey)


def _made(huey: Huey) -> dict[str, TaskWrapper]:
    """The tasks of a Huey."""
    if huey in _tasks:
        return _tasks[huey]

    def deliver(ids: list[str]) -> None:
        """Send messages of the outbox that are due."""
        _host(huey).deliver(ids)

    def deliver_letter(document: str, task: Task) -> dict[str, Any]:
        """Send a message that is stored nowhere; tried again when our policy says so, by Huey's own retry."""
        carried = _host(huey).carry(document)
        if carried.again is None:
            return carried.result
        if huey.immediate:
            logger.error("a message is not tried again: an immediate Huey has nothing that waits")
            return carried.result
        task.args = (carried.again,)
        raise RetryTask(delay=carried.delay)

    def start_relay() -> None:
        # Called by each worker; those of one process have one relay.
        for queue in using(_queues, lambda queue: queue.find() is huey):
            queue.host.start_relay()

    deliver.__module__ = deliver_letter.__module__ = "flask_outbox"
    huey.on_startup("flask_outbox")(start_relay)
    _tasks[huey] = {
        DELIVER: huey.task(name=DELIVER)(deliver),
        # What fails otherwise, such as a version of this process that is too old, would be forgotten.
        DELIVER_LETTER: huey.task(
            name=DELIVER_LETTER, context=True, retries=RETRIES, retry_delay=RETRY_DELAY
        )(deliver_letter),
    }
    return _tasks[huey]
