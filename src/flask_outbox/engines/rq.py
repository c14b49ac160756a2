"""RQ: its jobs send the mail (``MAIL_ENGINE = "rq"``), with Flask-RQ or without.

RQ's default worker forks a process for each job, a work horse, which ends without running what :mod:`atexit` has: what
it has opened is closed at the end of the job. A worker has nothing where a relay could run: ``flask mail relay`` is a
process of its own.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from inspect import signature
from math import ceil
from typing import Any
from weakref import WeakSet

from rq import Queue, Retry, get_current_job

from ..errors import ConfigurationError
from .parcel import id_of
from .task_queue import Host, TaskOptions, TaskQueue, host_of

logger = logging.getLogger("flask_outbox")

#: What the jobs are called in RQ's logs; left to itself, it would show what they carry.
DELIVER, DELIVER_LETTER = "flask_outbox.deliver", "flask_outbox.deliver_letter"

#: Seconds that a job may take: what limits it are the timeouts of the transports.
TIMEOUT = 3_600

#: Seconds that a failed job is shown. Of its letters the relay tells again.
FAILURE = 86_400

#: How often the job of a letter that nobody stores is started again when its worker died.
RESTARTS = 3

#: How often such a letter may be tried again; how often it is, our policy says.
_TRIES = 1_000_000

#: What ``MAIL_TASK_OPTIONS`` may have: the options of ``Queue.enqueue``, and the name of a queue.
_OPTIONS = signature(Queue.enqueue_call).parameters.keys() - {
    *("self", "func", "args", "kwargs", "timeout", "pipeline", "job_id", "unique")
} | {"job_timeout", "queue"}

_queues: WeakSet[RqQueue] = WeakSet()


class RqQueue(TaskQueue):
    """RQ, on Redis."""

    name = "rq"

    # A process for each job.
    gather = 0.5

    def __init__(self, host: Host, find: Callable[[], Any], options: TaskOptions) -> None:
        super().__init__(host, find, options)
        options.check(_OPTIONS)
        if (given := find()) is not None:
            _check(given)
        _queues.add(self)

    def publish(self, ids: Sequence[str], priority: int) -> None:
        """Put a job on the queue that names letters."""
        defaults = {"description": DELIVER, "result_ttl": 0, "failure_ttl": FAILURE}
        with self._chosen(priority, defaults) as (queue, options):
            queue.enqueue(deliver, list(ids), **options)

    def publish_letter(self, document: str, priority: int, delay: float) -> None:
        """Put a job on the queue that carries a letter; its id is the letter's."""
        defaults = {"description": DELIVER_LETTER, "retry": Retry(max=RESTARTS)}
        with self._chosen(priority, defaults) as (queue, options):
            options["job_id"] = id_of(document)
            if not delay:
                queue.enqueue(deliver_letter, document, **options)
                return
            queue.enqueue_in(timedelta(seconds=delay), deliver_letter, document, **options)
            _want_scheduler(queue)

    @contextmanager
    def _chosen(
        self, priority: int, defaults: dict[str, Any]
    ) -> Iterator[tuple[Queue, dict[str, Any]]]:
        """The queue of a job, and its options. Within it the application is current: it may run at once."""
        options = {"job_timeout": TIMEOUT, **defaults, **self.options.of_priority(priority)}
        name = options.pop("queue", None)
        with self.host.context():
            yield _named(_check(self.find()), name), options

    def ends_soon(self) -> bool:
        """Whether it is a user's own job that sends."""
        return _in_work_horse()

    def check(self) -> str:
        """Ask Redis for a sign of life."""
        with self._chosen(1, {}) as (queue, _):
            queue.connection.ping()
            return f"queue {queue.name!r}, {queue.count} wait"


QUEUE = RqQueue


def _check(given: Any) -> Any:
    """:raises ConfigurationError: it is no queue of RQ's."""
    if given is None:
        raise ConfigurationError(
            "MAIL_ENGINE='rq' needs a queue: set 'MAIL_TASK_QUEUE' to an rq.Queue, or use Flask-RQ."
        )
    if not isinstance(given, Queue) and not hasattr(given, "get_queue"):
        raise ConfigurationError(
            "'MAIL_TASK_QUEUE' must be an rq.Queue, or the extension of Flask-RQ, with MAIL_ENGINE='rq',"
            f" not {given!r}."
        )
    return given


def _named(given: Any, name: str | None) -> Queue:
    if not isinstance(given, Queue):
        try:
            queue: Queue = given.get_queue(name or "default")  # Flask-RQ's
        except KeyError:
            raise ConfigurationError(
                f"'RQ_QUEUES' has no {name or 'default'!r}: name one of its queues in 'MAIL_TASK_OPTIONS',"
                " {'queue': 'mail'}."
            ) from None
        return queue
    if name is None:
        return given
    return type(given)(
        name,
        given.connection,
        is_async=given.is_async,
        job_class=given.job_class,
        serializer=given.serializer,
    )


def _in_work_horse() -> bool:
    """Whether a job runs here, with which the process ends: those processes ignore Ctrl-C, unlike workers."""
    ignores = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return ignores and get_current_job() is not None


@contextmanager
def _hosted() -> Iterator[Host]:
    """Who does the job that runs here."""
    try:
        host = host_of(_queues, lambda queue: queue.find() is not None)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{error} Start them by 'flask rq worker' of Flask-RQ, or by 'rq worker -c wsgi' with the module that"
            " makes the application."
        ) from None
    try:
        yield host
    finally:
        if _in_work_horse():
            host.close()


def deliver(ids: list[str]) -> None:
    """Send messages of the outbox that are due."""
    with _hosted() as host:
        host.deliver(ids)


def deliver_letter(document: str) -> dict[str, Any] | Retry:
    """Send a message that is stored nowhere; tried again when our policy says so, by RQ's own retry."""
    with _hosted() as host:
        carried = host.carry(document)
    if carried.again is None:
        return carried.result
    job = get_current_job()
    assert job is not None  # it runs this
    job.args = (carried.again,)
    if carried.delay:
        _want_scheduler(Queue(job.origin, job.connection))
    return Retry(max=_TRIES, interval=ceil(carried.delay))


def _want_scheduler(queue: Queue) -> None:
    if queue.scheduler_pid is None:
        logger.warning(
            "nobody starts what is due later on the queue %r: 'rq worker --with-scheduler'",
            queue.name,
        )
