"""For whoever connects a task queue: what the tasks of Flask-Outbox do, and what a queue must be able to.

The tasks for Celery, RQ, Dramatiq and Huey are there already. One for another queue is a subclass of
:class:`TaskQueue` under the entry point group ``flask_outbox.task_queues``, whose tasks call :func:`deliver`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flask import Flask

from ._task_queues import desk_of, tasks_of
from .engines.task_queue import PRIORITIES, Host, TaskOptions, TaskQueue, host_of, using

if TYPE_CHECKING:
    from .engines.letter_tasks import Carried

__all__ = [
    "PRIORITIES",
    "Host",
    "TaskOptions",
    "TaskQueue",
    "close",
    "deliver",
    "deliver_letter",
    "host_of",
    "relay",
    "start_relay",
    "using",
]


def deliver(ids: Sequence[str], app: Flask | None = None) -> dict[str, str]:
    """Send messages of the outbox that are due, and wait until each was tried or cannot be now.

    Those that others send at the moment, or that are over, cost nothing. All tasks of a process share its connections
    to the mail server; they stay open from task to task.

    :param ids: of the messages.
    :param app: whose they are; the current one where it is left out. No context is pushed, as none is needed.
    :returns: for each id the state in which it was left: ``"sent"``, ``"queued"`` (it is tried again, or its transport
        is paused), ``"dead"`` and so on; ``"sending"`` where another process has it, ``"left"`` where this one ends,
        and ``"unknown"`` where there is none such.
    :raises OutboxError: the outbox cannot be used.
    """
    return dict(tasks_of(app).deliver(ids))


def deliver_letter(document: str, app: Flask | None = None) -> Carried:
    """Try a message that is stored nowhere, once.

    :param document: as :meth:`TaskQueue.publish_letter` was given it.
    :param app: whose it is; the current one where it is left out.
    :returns: its result, and the task that is to follow.
    """
    return tasks_of(app).carry(document)


def relay(app: Flask | None = None) -> None:
    """Tell the queue once of what is due that no task may know of; for a schedule, where no relay runs.

    Where one runs, nothing happens.
    """
    tasks_of(app).relay()


def start_relay(app: Flask | None = None) -> None:
    """Run a relay in this process, in a thread: it tells the queue of what is due that no task knows of.

    Where one runs already, or ``MAIL_RELAY`` is false, nothing happens.
    """
    tasks_of(app).start_relay()


def close(app: Flask | None = None) -> None:
    """End what runs for the mail in this process: finish what is being sent, and close the connections.

    For a process that ends without running what :mod:`atexit` has. Whatever comes later starts anew.
    """
    desk_of(app).close()
