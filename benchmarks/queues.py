"""The task queues that carry the mail: how fast it goes out by them, and what the view waits for.

A queue is filled by ``mail.send()``, one message after the other as by ``.delay()``; then its workers are started, two
processes. They do not end when the queue is empty: their time is from the first message to the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from flask_outbox.ledger.store import Store
from servers.process import wait_until

from . import brokers, databases, messages, with_flask_outbox, with_task_queue
from .measure import computing, medians
from .peers import here, installed
from .pythons import finished, running
from .scale import Scale
from .services import Sink, folder
from .table import Gate, Row, rate, seconds

#: What those have for an outbox that have none.
NONE = "none"

_OURS, _THEIRS = "benchmarks.with_task_queue", "benchmarks.with_celery"

#: The workers of each queue, two processes, as Python's arguments.
_WORKERS = {
    "celery": [["-m", "celery", "-A", f"{_OURS}:queue", "worker", "-c", "2"]],
    "rq": [["-m", "rq.cli", "worker", "-c", _OURS, "--url", "{broker}"]] * 2,
    "dramatiq": [["-m", "dramatiq", f"{_OURS}:queue", "-p", "2", "-t", "1"]],
    "huey": [["-m", "huey.bin.huey_consumer", f"{_OURS}.queue", "-k", "process", "-w", "2"]],
}

_PEER = [["-m", "celery", "-A", _THEIRS, "worker", "-c", "2"]]


@dataclass(frozen=True, slots=True)
class Way:
    """One of our engines.

    :param broker: one of :data:`.brokers.NAMES`.
    :param outbox: a database of :data:`.databases.NAMES`, or :data:`NONE`.
    """

    engine: str
    broker: str
    outbox: str

    @property
    def missing(self) -> bool:
        """Whether it cannot be measured here."""
        without = self.outbox != NONE and databases.missing(self.outbox)
        return without or brokers.missing(self.broker) or not here(self.engine)

    def __str__(self) -> str:
        outbox = "no outbox" if self.outbox == NONE else databases.NAMES[self.outbox]
        return f"{self.engine}, {brokers.NAMES[self.broker]}, {outbox}"


#: Each with the gate against Celery and Flask-Mail on the same broker, where there is one.
_AT_LEAST = Gate("≥ 3×", least=3)
_WAYS: dict[Way, Gate | None] = {
    Way("celery", "redis", "sqlite"): _AT_LEAST,
    Way("celery", "redis", "postgresql"): _AT_LEAST,
    Way("celery", "redis", NONE): None,
    Way("rq", "redis", "postgresql"): None,
    Way("dramatiq", "redis", "postgresql"): None,
    Way("huey", "redis", "postgresql"): None,
    Way("celery", "rabbitmq", "postgresql"): _AT_LEAST,
}


def run(scale: Scale) -> Iterator[Row]:
    ways = [way for way in _WAYS if way.outbox in (NONE, *databases.chosen)][: scale.queues]
    for kind in dict.fromkeys(way.broker for way in ways):
        yield from _throughput(kind, [way for way in ways if way.broker == kind], scale)
    yield from _requests(scale)


# -- messages a second -----------------------------------------------------------------------------------------


def _throughput(kind: str, ways: list[Way], scale: Scale) -> Iterator[Row]:
    peer = f"Celery -c 2 + Flask-Mail, {brokers.NAMES[kind]}"
    contestants: dict[str, Callable[[], float]] = {
        str(way): partial(_ours, way, scale.queued) for way in ways if not way.missing
    }
    if installed("celery", "flask_mail") and not brokers.missing(kind):
        contestants[peer] = lambda: _theirs(kind, scale.drained_by_peers)
    figures = medians(contestants, scale.drains)
    for way in ways:
        against = peer if way.engine == "celery" else ""
        yield Row(str(way), rate, figures.get(str(way)), against, figures.get(against), _WAYS[way])


def _ours(way: Way, count: int) -> float:
    with ExitStack() as stack:
        room = stack.enter_context(folder())
        environment = {"BENCH_ENGINE": way.engine}
        if way.outbox != NONE:
            url = stack.enter_context(databases.database(way.outbox, room))
            environment["BENCH_OUTBOX"] = url
            store = Store(url)
            store.create_schema()
            store.dispose()
        return _drain(stack, way.broker, _OURS, _WORKERS[way.engine], environment, count)


def _theirs(kind: str, count: int) -> float:
    with ExitStack() as stack:
        return _drain(stack, kind, _THEIRS, _PEER, {}, count)


def _drain(
    stack: ExitStack,
    kind: str,
    module: str,
    workers: list[list[str]],
    environment: dict[str, str],
    count: int,
) -> float:
    """Fill a queue by a process that runs a module, and let its workers empty it."""
    room = stack.enter_context(folder())
    sink = stack.enter_context(Sink(room, counting=True))
    url = stack.enter_context(brokers.broker(kind))
    environment = {**environment, "BENCH_BROKER": url, "BENCH_PORT": str(sink.port)}
    finished(["-m", module, str(count)], environment)
    for number, arguments in enumerate(workers):
        command = [argument.format(broker=url) for argument in arguments]
        stack.enter_context(running(command, environment, room / f"worker-{number}.log"))
    wait_until(lambda: sink.count() > 0, "first message")
    first, started = sink.count(), time.perf_counter()
    wait_until(lambda: sink.count() >= count, f"{count} messages", deadline=600)
    return (count - first) / max(time.perf_counter() - started, 0.001)


# -- what the view waits for -----------------------------------------------------------------------------------

_DELAY = "Celery .delay(), Redis AOF always"
_DATABASES = ("sqlite", "postgresql")


def _requests(scale: Scale) -> Iterator[Row]:
    kinds = [kind for kind in _DATABASES if kind in databases.chosen][: scale.queues]
    whats = {kind: f"mail.send(), celery, {databases.NAMES[kind]}" for kind in kinds}
    with ExitStack() as stack:
        ways: dict[str, Callable[[], object]] = {}
        if here("celery") and not brokers.missing("redis"):
            url = stack.enter_context(brokers.broker("redis"))
            for kind, what in whats.items():
                if not databases.missing(kind):
                    ways[what] = _sends(kind, url, stack)
            if installed("flask_mail"):
                ways[_DELAY] = _delays(url, stack)
        figures = medians({name: _waiting(way) for name, way in ways.items()}, scale.calls)
        work = {name: computing(way, scale.burst) for name, way in ways.items()}
        cpu = medians(work, scale.rounds)
    for what in whats.values():
        yield Row(what, seconds, figures.get(what), _DELAY, figures.get(_DELAY))
        yield Row("  CPU of it, with its tasks", seconds, cpu.get(what), _DELAY, cpu.get(_DELAY))


def _sends(kind: str, broker: str, stack: ExitStack) -> Callable[[], object]:
    room = stack.enter_context(folder())
    sink = stack.enter_context(Sink(room))
    outbox = stack.enter_context(databases.database(kind, room))
    store = Store(outbox)
    store.create_schema()
    store.dispose()
    app, mail = with_task_queue.application("celery", broker, outbox, sink.port)
    stack.callback(app.extensions["flask_outbox"].close)

    def send() -> None:
        with app.app_context():
            mail.send(with_flask_outbox.draft(messages.HTML))

    return send


def _delays(broker: str, stack: ExitStack) -> Callable[[], object]:
    from .with_celery import celery
    from .with_celery import send as task

    celery.conf.broker_url = broker
    stack.callback(celery.close)
    fields = messages.HTML
    return lambda: task.delay(fields)


def _waiting(call: Callable[[], object]) -> Callable[[], float]:
    """Seconds of one call; what goes on after it has returned is not the next one's burden."""

    def figure() -> float:
        started = time.perf_counter()
        call()
        took = time.perf_counter() - started
        time.sleep(0.01)
        return took

    return figure
