"""Celery: its tasks send the mail (``MAIL_ENGINE = "celery"``), on any broker of its.

The tasks are shared ones, so that any Celery app of the process has them, whether it was made before this or after, by
Flask's pattern (``app.extensions["celery"]``) or otherwise.

They are put on the queue over connections of our own, as those of Celery neither survive every fork nor may be used by
greenlets of several threads; and RabbitMQ is asked to confirm what it has taken.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, finalize

from celery import Celery, _state, shared_task, signals
from celery.exceptions import Reject, SoftTimeLimitExceeded

from ..delivery.native import native
from ..errors import ConfigurationError
from .letter_tasks import Carried
from .parcel import id_of
from .task_queue import Host, TaskOptions, TaskQueue, host_of

logger = logging.getLogger("flask_outbox")

#: What the tasks are called; Celery's ``task_routes`` and ``task_annotations`` name them so.
DELIVER, DELIVER_LETTER = "flask_outbox.deliver", "flask_outbox.deliver_letter"
RELAY = "flask_outbox.relay"

#: Seconds that a task may take whatever others may, unless ``task_annotations`` limit it: the timeouts of the
#: transports come first.
TIME_LIMIT = 3_600
_LIMITS = {"time_limit": TIME_LIMIT, "soft_time_limit": TIME_LIMIT}

#: Seconds until a letter that only its task has is tried again, where this process cannot do it as it is.
MISFIT = 60.0

#: Seconds that a broker may be silent.
_SILENCE = 10.0

#: Options of our connections, by what Celery calls the driver; the user's ``broker_transport_options`` go before.
_CONNECTED: dict[str, dict[str, object]] = {
    "py-amqp": {"confirm_publish": True},
    "redis": {"socket_timeout": _SILENCE},
}

#: How tasks are put on a queue, unless ``MAIL_TASK_OPTIONS`` says otherwise. A connection may have been cut since the
#: last task: then another one is made, once.
_PUBLISHED: dict[str, Any] = {
    "serializer": "json",
    "retry": True,
    "retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0},
    "timeout": _SILENCE,
    "confirm_timeout": _SILENCE,
    # A user's task that sends mail does not wait for it where its own result is waited for.
    "add_to_parent": False,
}

#: Where a task is put, which the next one of its letter has from it.
_PLACE = {"queue", "exchange", "exchange_type", "routing_key", "priority"}

#: What ``MAIL_TASK_OPTIONS`` may have: the options of ``apply_async`` but for those of single tasks, and Amazon SQS's.
_OPTIONS = {
    *_PLACE,
    *_PUBLISHED,
    *("compression", "delivery_mode", "expires", "headers", "ignore_result", "link", "link_error"),
    *("mandatory", "reply_to", "shadow", "soft_time_limit", "time_limit"),
    "MessageGroupId",
}

#: What is shown of the arguments of a task that carries a letter.
_UNSAID = "('<a letter>',)"

_queues: WeakSet[CeleryQueue] = WeakSet()


class CeleryQueue(TaskQueue):
    """Celery, on any broker of its."""

    name = "celery"

    def __init__(self, host: Host, find: Callable[[], Any], options: TaskOptions) -> None:
        def found() -> Celery:
            celery = find() or _only_one()
            if not isinstance(celery, Celery):
                raise ConfigurationError(
                    f"'MAIL_TASK_QUEUE' must be a Celery app with MAIL_ENGINE='celery', not {celery!r}."
                )
            return celery

        super().__init__(host, found, options)
        options.check(_OPTIONS)
        _queues.add(self)

    def publish(self, ids: Sequence[str], priority: int) -> None:
        """Put a task on the queue that names letters."""
        self._send(DELIVER, [list(ids)], priority)

    def publish_letter(self, document: str, priority: int, delay: float) -> None:
        """Put a task on the queue that carries a letter; its id is the letter's."""
        own: dict[str, Any] = {"task_id": id_of(document), "argsrepr": _UNSAID}
        self._send(DELIVER_LETTER, [document], priority, **own, countdown=delay or None)

    def _send(self, name: str, args: list[Any], priority: int, **own: Any) -> None:
        celery: Celery = self.find()
        task = celery.tasks[name]
        options = {**_PUBLISHED, **_limits(task), **self.options.of_priority(priority), **own}
        if celery.conf.task_always_eager:
            with self.host.context():
                task.apply_async(args, **options)
            return
        with _connections(celery).producer(celery) as producer:
            task.apply_async(args, producer=producer, **options)

    def check(self) -> str:
        """Ask the broker for a sign of life."""
        celery: Celery = self.find()
        if not {"json", "application/json"} & {*celery.conf.accept_content}:
            raise ConfigurationError("Celery's 'accept_content' lacks 'json', which the tasks are.")
        with celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=_SILENCE)
            return str(connection.as_uri())


QUEUE = CeleryQueue


def _limits(task: Any) -> dict[str, int]:
    """Ours, unless the user has said others for this task than for all."""
    conf = task.app.conf
    given = task.time_limit, task.soft_time_limit
    general = conf.task_time_limit, conf.task_soft_time_limit
    return _LIMITS if given in (general, (None, None)) else {}


def _only_one() -> Celery:
    """Where nothing is said: the app that is every thread's default, or else the only one that there is.

    Not the current app: each thread has its own, and who puts tasks on the queue is none of those that the application
    knows. Asked for it, Celery would make one.

    :raises ConfigurationError: there is none, or more than one.
    """
    default = _state.default_app
    if default is not None and default.main == "default" and not default.set_as_current:
        default = None  # Celery made it
    apps = (
        [default] if default else [app for app in _state._get_active_apps() if app.set_as_current]
    )
    if len(apps) != 1:
        count = "more than one Celery app" if apps else "no Celery app"
        raise ConfigurationError(
            f"There is {count} in this process: name the one that sends the mail in 'MAIL_TASK_QUEUE', or set"
            " app.extensions['celery']."
        )
    celery: Celery = apps[0]
    return celery


# -- connections to a broker -----------------------------------------------------------------------------------


class _Connections:
    """Those of one process to the broker of a Celery app, each for one task at a time."""

    def __init__(self, celery: Celery) -> None:
        conf = celery.conf
        with _loading:
            # What it imports, a child that is forked meanwhile could never import again.
            driver = celery.connection_for_write().transport.driver_name
            _ = celery.amqp.send_task_message
        self._options = {**_CONNECTED.get(driver, {}), **conf.broker_transport_options}
        if driver == "redis":
            self._options.setdefault("socket_connect_timeout", conf.broker_connection_timeout)
        # As many are kept as Celery itself would keep.
        self._most = conf.broker_pool_limit or 0
        self._kept: deque[Any] = deque()
        self._place = _here()

    @contextmanager
    def producer(self, celery: Celery) -> Iterator[Any]:
        """What puts tasks on a queue; its connection is closed if it did not."""
        try:
            producer = self._kept.pop()
        except IndexError:
            connection = celery.connection_for_write(transport_options=self._options)
            producer = celery.amqp.Producer(connection, auto_declare=False)
        try:
            yield producer
        except BaseException:
            _drop(producer)
            raise
        if len(self._kept) < self._most:
            self._kept.append(producer)
        else:
            _drop(producer)

    def close(self) -> None:
        """Close those that are kept, where they may be used."""
        while self._kept and self._place == _here():
            _drop(self._kept.pop())


def _drop(producer: Any) -> None:
    with suppress(Exception):  # it is of no more use
        producer.connection.collect()  # without a farewell, which could wait for ever


def _here() -> tuple[int, int]:
    """Where a connection may be used: in this process; where sockets are greenlets' to wait for, in this thread."""
    patched = socket.socket.__module__ != "socket"
    return os.getpid(), native("_thread", "get_ident")() if patched else 0


#: By the Celery app, and by where they may be used. What a fork has inherited, a child keeps, and leaves alone: by
#: closing them it would cut off its parent.
_known: WeakKeyDictionary[Celery, dict[tuple[int, int], _Connections]] = WeakKeyDictionary()

#: Held while something may be imported for the first time, and while this process forks.
_loading = native("_thread", "allocate_lock")()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_loading.acquire,
        after_in_parent=_loading.release,
        after_in_child=_loading.release,
    )


def _connections(celery: Celery) -> _Connections:
    """Those that may be used here."""
    of_app, here = _known.setdefault(celery, {}), _here()
    if here not in of_app:
        of_app[here] = _Connections(celery)
        finalize(celery, of_app[here].close)
    return of_app[here]


# -- the tasks -------------------------------------------------------------------------------------------------


def _queue(celery: Celery) -> CeleryQueue:
    """That of the application whose mail the tasks of a Celery app send.

    :raises ConfigurationError: there is none, or more than one.
    """
    found = _using(celery, lambda error: None)
    host = host_of(found, lambda queue: True)
    return next(queue for queue in found if queue.host == host)


def _using(celery: Celery, hear: Callable[[ConfigurationError], object]) -> list[CeleryQueue]:
    """All of those.

    :param hear: told why the mail of another application cannot be sent.
    """
    found = []
    for queue in list(_queues):
        try:
            if queue.find() is celery:
                found.append(queue)
        except ConfigurationError as error:
            hear(error)
        except RuntimeError:
            continue  # its application is gone
    return found


def deliver(self: Any, ids: list[str]) -> dict[str, int]:
    """Send messages of the outbox that are due; how many were left in which state."""
    return dict(Counter(_queue(self.app).host.deliver(ids).values()))


def deliver_letter(self: Any, document: str) -> dict[str, Any]:
    """Send a message that is stored nowhere; tried again when our policy says so, by Celery's own retry."""
    options: Mapping[str, Any] = {}
    try:
        queue = _queue(self.app)
        options = queue.options.every
        carried = queue.host.carry(document)
    except (ValueError, SoftTimeLimitExceeded) as error:
        # The settings of this process, or its version, are not those of the one that sent. Or a limit of the user's
        # has struck, and nobody knows whether it was sent: twice is better than never.
        logger.error("a message waits for another try of its task: %r", error)
        carried = Carried({}, document, MISFIT)
    if carried.again is None:
        return carried.result
    if self.request.is_eager:
        logger.error("a message is not tried again: with 'task_always_eager' nothing waits for it")
        return carried.result
    raise _retry(self, carried, options)


def _retry(task: Any, carried: Carried, given: Mapping[str, Any]) -> Exception:
    """Put a letter on the queue again that a task has carried; what that is to raise then."""
    own = {name: value for name, value in given.items() if name not in _PLACE}
    options = {**_PUBLISHED, **own, "argsrepr": _UNSAID}
    try:
        with _connections(task.app).producer(task.app) as producer:
            again: Exception = task.retry(
                args=[carried.again],
                countdown=carried.delay,
                throw=False,
                producer=producer,
                **options,
            )
            return again
    except Reject as error:
        # The broker did not take it, and would forget it: it is to keep this one.
        kept: Exception = Reject(error.reason, requeue=True)
        return kept


def relay(self: Any) -> None:
    """Tell the queue once of what is due; for beat, where ``MAIL_RELAY`` is false."""
    _queue(self.app).host.relay()


_late: dict[str, Any] = {
    "bind": True,
    "acks_late": True,
    "reject_on_worker_lost": True,
}
shared_task(name=DELIVER, ignore_result=True, **_late)(deliver)
shared_task(name=DELIVER_LETTER, max_retries=None, acks_on_timeout=False, **_late)(deliver_letter)
shared_task(name=RELAY, bind=True, ignore_result=True)(relay)


# -- the life of a worker --------------------------------------------------------------------------------------


def _start_relay(sender: Any, **_: object) -> None:
    for queue in _using(sender.app, lambda error: logger.error("no mail is sent: %s", error)):
        queue.host.start_relay()


def _close(**_: object) -> None:
    for queue in list(_queues):
        queue.host.close()


signals.worker_ready.connect(_start_relay)
signals.worker_process_shutdown.connect(_close)
signals.worker_shutdown.connect(_close)
