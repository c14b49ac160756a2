"""A full outbox in each database, drained by one worker, and in PostgreSQL by several."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sqlalchemy import create_engine

from flask_outbox.ledger.joining import tell
from flask_outbox.ledger.store import Store
from servers.process import Process, wait_until

from . import databases, messages
from .databases import NAMES, commit_seconds, database, missing, server
from .filling import fill
from .measure import alternate
from .pythons import running
from .scale import Scale
from .services import Sink, folder
from .table import Row, rate, seconds
from .with_flask_outbox import WORKER, environment

#: Ticks a second of the times in proc_pid_stat(5).
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Drained:
    """What came of one drain.

    :param speed: messages a second.
    :param workers: CPU seconds a message of all workers together; ``server`` of the database's processes.
    """

    speed: float
    workers: float
    server: float


def run(scale: Scale) -> Iterator[Row]:
    ways = [(kind, count) for kind in databases.chosen for count in _counts(kind, scale)]
    drains = {_name(*way): _drain(*way, scale.drained) for way in ways if not missing(way[0])}
    found = {name: _median(each) for name, each in alternate(drains, scale.drains).items()}
    for kind, count in ways:
        yield from _rows(kind, count, found)
    for kind in databases.chosen:
        if not missing(kind):
            with folder() as room:
                took = commit_seconds(kind, room, scale.calls)
            yield Row(f"  a commit of {NAMES[kind]}, synced", seconds, took)


def _counts(kind: str, scale: Scale) -> tuple[int, ...]:
    """Of workers: PostgreSQL's share the work, a file's do not."""
    return scale.workers if kind == "postgresql" else (1,)


def _name(kind: str, workers: int) -> str:
    return f"{NAMES[kind]}, {workers} worker{'s' * (workers > 1)}"


def _rows(kind: str, workers: int, found: dict[str, Drained]) -> Iterator[Row]:
    what, peer = _name(kind, workers), _name("sqlite", 1)
    ours, theirs = found.get(what), found.get(peer) if what != peer else None
    if ours is None:
        yield Row(f"drain, {what}", rate, None)
        return
    against = peer if theirs else ""
    yield Row(f"drain, {what}", rate, ours.speed, against, theirs and theirs.speed)
    name = "  CPU a message, of the workers"
    yield Row(name, seconds, ours.workers, against, theirs and theirs.workers)
    if kind != "sqlite":
        yield Row("  and of the database", seconds, ours.server)


def _median(drains: list[Drained]) -> Drained:
    return Drained(
        median(one.speed for one in drains),
        median(one.workers for one in drains),
        median(one.server for one in drains),
    )


def _drain(kind: str, workers: int, count: int) -> Callable[[], Drained]:
    """Workers that run and hear of nothing are let go on a full outbox; from the first message to the last."""

    def figure() -> Drained:
        with ExitStack() as stack:
            room = stack.enter_context(folder())
            sink = stack.enter_context(Sink(room, counting=True))
            url = stack.enter_context(database(kind, room))
            fill(url, count, messages.HTML)
            store = Store(url)
            stack.callback(store.dispose)
            store.pause("default", "for the benchmark", by="person")
            processes = [
                stack.enter_context(_worker(url, sink, room, number)) for number in range(workers)
            ]
            wait_until(lambda: _registered(url) == workers, "workers")
            before = _spent(kind, processes)
            store.resume("default")
            if kind == "postgresql":
                tell(store)
            speed = _speed(sink, count)
            after = _spent(kind, processes)
            wait_until(lambda: not _waiting(url), "recorded results")
            sink.expect(count)
        spent = [(b - a) / count for a, b in zip(before, after, strict=True)]
        return Drained(speed, *spent)

    return figure


def _worker(url: str, sink: Sink, room: Path, number: int) -> Process:
    return running(WORKER, environment(url, sink.port), room / f"worker-{number}.log")


def _speed(sink: Sink, count: int) -> float:
    wait_until(lambda: sink.count() > 0, "first message")
    first, started = sink.count(), time.perf_counter()
    wait_until(lambda: sink.count() >= count, f"{count} messages", deadline=600)
    return (count - first) / max(time.perf_counter() - started, 0.001)


def _registered(url: str) -> int:
    return _number(url, "SELECT count(*) FROM mail_worker")


def _waiting(url: str) -> int:
    return _number(url, "SELECT count(*) FROM mail_delivery WHERE state <> 'sent'")


def _number(url: str, query: str) -> int:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = int(connection.exec_driver_sql(query).scalar_one())
    engine.dispose()
    return found


def _spent(kind: str, workers: list[Process]) -> tuple[float, float]:
    """CPU seconds of the workers and of the database so far."""
    database = 0.0 if kind == "sqlite" else _cpu(server(kind).pid)
    return sum(_cpu(worker.pid) for worker in workers), database


def _cpu(pid: int) -> float:
    """CPU seconds of a process and all it has started."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                continue
            own = entry.name == str(pid)
            if own or fields[1] == str(pid):
                # Those of its own, and where it has ended children theirs.
                total += sum(map(int, fields[11:15]))
    return total / _TICKS
