"""Dramatiq: its actors send the mail (``MAIL_ENGINE = "dramatiq"``), on Redis or RabbitMQ.

They are declared on the broker by ``Mail(app)``, so it has to be there then for the workers to know them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from math import ceil
from typing import Any
from weakref import WeakSet

from dramatiq import Broker, Middleware, Worker, actor, get_broker
from dramatiq import broker as brokers
from dramatiq.broker import MessageProxy

from ..errors import ConfigurationError
from .parcel import id_of
from .task_queue import Host, TaskOptions, TaskQueue, host_of, using

#: What the actors are called.
DELIVER, DELIVER_LETTER = "flask_outbox.deliver", "flask_outbox.deliver_letter"

#: Milliseconds that a task may take: what limits it are the timeouts of the transports.
TIME_LIMIT = 3_600_000

_queues: WeakSet[DramatiqQueue] = WeakSet()

#: The task that runs.
_running: ContextVar[MessageProxy] = ContextVar("flask_outbox_dramatiq")


class DramatiqQueue(TaskQueue):
    """Dramatiq, on any broker of its."""

    name = "dramatiq"

    def __init__(self, host: Host, find: Callable[[], Any], options: TaskOptions) -> None:
        def found() -> Broker:
            return _check(find() or get_broker())

        super().__init__(host, found, options)
        _queues.add(self)
        # Asked for its own, Dramatiq would make one.
        given = find() or brokers.global_broker
        if given is not None:
            _declare(_check(given), self._names())

    def publish(self, ids: Sequence[str], priority: int) -> None:
        """Put a task on the queue that names letters."""
        self._send(DELIVER, list(ids), priority)

    def publish_letter(self, document: str, priority: int, delay: float) -> None:
        """Put a task on the queue that carries a letter; its id is the letter's."""
        self._send(DELIVER_LETTER, document, priority, delay, message_id=id_of(document))

    def _send(
        self, task: str, argument: Any, priority: int, delay: float = 0.0, **own: Any
    ) -> None:
        broker: Broker = self.find()
        _declare(broker, self._names())
        options = self.options.of_priority(priority)
        own["queue_name"] = options.pop("queue_name", "default")
        message = broker.get_actor(task).message_with_options(args=(argument,), **options)
        broker.enqueue(message.copy(**own), delay=ceil(delay * 1000) or None)

    def _names(self) -> set[str]:
        """The queues that there are to be."""
        return {self.options.of_priority(n).get("queue_name", "default") for n in range(3)}

    def check(self) -> str:
        """Ask the broker for a sign of life."""
        broker: Broker = self.find()
        if (client := getattr(broker, "client", None)) is not None:
            client.ping()
        else:
            # RabbitMQ's connects when it is asked for its connection, others have none.
            getattr(broker, "connection", None)
        return type(broker).__name__


QUEUE = DramatiqQueue


def _check(given: Any) -> Broker:
    """:raises ConfigurationError: it is no broker."""
    if not isinstance(given, Broker):
        raise ConfigurationError(
            f"'MAIL_TASK_QUEUE' must be a broker of Dramatiq with MAIL_ENGINE='dramatiq', not {given!r}."
        )
    return given


def _using(broker: Broker) -> list[DramatiqQueue]:
    return using(_queues, lambda queue: queue.find() is broker)


def _host(broker: Broker) -> Host:
    return host_of(_queues, lambda queue: queue.find() is broker)


def _declare(broker: Broker, names: Iterable[str]) -> None:
    """Let a broker have the actors and the queues, unless it has."""
    for name in names:
        broker.declare_queue(name)
    if DELIVER in broker.actors:
        return

    def deliver(ids: list[str]) -> None:
        """Send messages of the outbox that are due."""
        _host(broker).deliver(ids)

    def deliver_letter(document: str) -> dict[str, Any] | None:
        """Send a message that is stored nowhere; tried again when our policy says so."""
        carried, task = _host(broker).carry(document), _running.get()
        if carried.again is not None:
            again = task.copy(args=(carried.again,))
            broker.enqueue(again, delay=ceil(carried.delay * 1000))
            # Its result is that of the last one, which has the same id.
            task.options["store_results"] = False
            return None
        return carried.result if "store_results" in broker.actor_options else None

    broker.add_middleware(_Hooks())
    # The row is the truth: what fails, the relay tells again.
    _act(broker, DELIVER, deliver, max_retries=0)
    _act(broker, DELIVER_LETTER, deliver_letter, store_results=True)


def _act(broker: Broker, name: str, function: Callable[..., Any], **options: Any) -> None:
    options["time_limit"] = TIME_LIMIT
    # Each is the option of a middleware, which a broker may not have.
    known = {key: value for key, value in options.items() if key in broker.actor_options}
    actor(actor_name=name, broker=broker, **known)(function)


class _Hooks(Middleware):
    """What happens in a worker besides."""

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        for queue in _using(broker):
            queue.host.start_relay()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        for queue in _using(broker):
            queue.host.close()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        _running.set(message)
