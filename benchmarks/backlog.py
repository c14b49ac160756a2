"""A full outbox in each database: what a claim costs, and what a worker needs in memory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Terms
from servers.process import wait_until

from . import databases, messages
from .databases import NAMES, database, missing, unsynced
from .filling import end, fill, multiply, never_vacuum, settle
from .measure import medians, waiting
from .pythons import finished, running
from .scale import Scale
from .services import Sink, folder
from .table import Gate, Row, megabytes, seconds
from .with_flask_outbox import WORKER, environment

#: Letters a claim takes: as many as a worker with ten connections has room for.
_CLAIM = 20

_FLAT = Gate("≤ 1.2×", most=1.2)

#: What SQLAlchemy has for each.
_DRIVERS = {
    "sqlite": "sqlalchemy.dialects.sqlite.pysqlite, sqlite3",
    "postgresql": "sqlalchemy.dialects.postgresql.psycopg, psycopg",
    "mariadb": "sqlalchemy.dialects.mysql.pymysql, pymysql",
}

#: Where the letters stand that are claimed. What PostgreSQL has not vacuumed is still in its indexes.
_WHERE = {
    "full": "{:,} waiting",
    "paused": "behind {:,} paused",
    "sent": "behind {:,} sent",
    "left": "behind {:,} sent, no vacuum yet",
}

#: Of what the outbox holds, one in so many was sent since then: a minute of a fast drain, or half of what PostgreSQL
#: lets come together where nothing else is set.
_LEFT = 10

_PAUSED = Terms(transport="bulk", priority=0)


def run(scale: Scale) -> Iterator[Row]:
    for kind in databases.chosen:
        if missing(kind):
            yield Row(f"claim of {_CLAIM}, {NAMES[kind]}", seconds, None)
            continue
        with ExitStack() as stack:
            room = stack.enter_context(folder())
            urls = {name: stack.enter_context(database(kind, room)) for name in ("small", *_WHERE)}
            if kind != "postgresql":
                del urls["left"]
            _prepare(scale, urls)
            yield from _claims(scale, kind, urls)
            yield _memory(scale, kind, room, urls["full"])


def _prepare(scale: Scale, urls: dict[str, str]) -> None:
    """Few letters, and many; few behind many in a paused lane, and behind many that were sent.

    Each has the paused lane, for a lane more is a seek more.
    """
    for name, url in urls.items():
        _fill(url, scale.backlog if name == "paused" else 1, _PAUSED)
        if name == "left":
            never_vacuum(url)
        if name in ("sent", "left"):
            _fill(url, _many(scale, name))
            end(url)
        _fill(url, scale.backlog if name == "full" else scale.small_backlog)
        settle(url, vacuum=name != "left")


def _many(scale: Scale, name: str) -> int:
    return scale.backlog // _LEFT if name == "left" else scale.backlog


def _fill(url: str, count: int, terms: Terms | None = None) -> None:
    letter_id = fill(url, 1, messages.SHORT, terms)
    if count > 1:
        multiply(url, letter_id, count - 1)


def _claims(scale: Scale, kind: str, urls: dict[str, str]) -> Iterator[Row]:
    stores = {name: Store(url) for name, url in urls.items()}
    for store in stores.values():
        store.pause("bulk", "for the benchmark", by="person")
    with unsynced(kind):
        claims = medians({name: _claim(store) for name, store in stores.items()}, scale.calls)
        looks = medians({name: _look(store) for name, store in stores.items()}, scale.calls)
    for store in stores.values():
        store.dispose()
    few = f"{scale.small_backlog:,} waiting"
    for what, figures, left in (
        (f"claim of {_CLAIM}", claims, _FLAT),
        # A look has to pass over what is left there.
        ("look at lanes", looks, None),
    ):
        for name, where in _WHERE.items():
            if name in figures:
                row = f"{what}, {NAMES[kind]}, {where.format(_many(scale, name))}"
                gate = left if name == "left" else _FLAT
                yield Row(row, seconds, figures[name], few, figures["small"], gate)


def _claim(store: Store) -> Callable[[], float]:
    def figure() -> float:
        begin = next(lane.due for lane in store.agenda(time.time()) if lane.lane == "default")
        started = time.perf_counter()
        found = store.claim("default", 1, _CLAIM, now=time.time(), lease=30.0, begin=begin)
        took = time.perf_counter() - started
        if len(found) != _CLAIM:
            raise RuntimeError(f"{len(found)} letters were claimed, not {_CLAIM}.")
        store.release(found, time.time())
        return took

    return figure


def _look(store: Store) -> Callable[[], float]:
    return waiting(lambda: store.agenda(time.time()))


def _memory(scale: Scale, kind: str, room: Path, url: str) -> Row:
    """The most that ``flask mail worker`` ever had while it drained, beside what it has before it does anything."""
    with Sink(room, counting=True) as sink:
        # Compiling takes more memory than anything later, and an installed one has been compiled.
        with database(kind, room) as empty:
            Store(empty).create_schema()
            finished([*WORKER, "--once"], environment(empty, sink.port))
        with running(WORKER, environment(url, sink.port), room / "worker.log") as worker:
            wait_until(
                lambda: sink.count() >= scale.drained, f"{scale.drained} messages", deadline=120
            )
            most = _peak(Path(f"/proc/{worker.pid}/status").read_text())
    code = f"import flask, asyncio, ssl, {_DRIVERS[kind]}; print(open('/proc/self/status').read())"
    _, bare = finished(["-c", code])
    return Row(
        f"worker memory, {NAMES[kind]}, {scale.backlog:,} waiting",
        megabytes,
        most,
        "Flask, SQLAlchemy, driver imported",
        _peak(bare),
        Gate("≤ 60 MB", most=60e6, absolute=True),
    )


def _peak(status: str) -> float:
    """VmHWM of proc_pid_status(5), in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError("This system does not tell how much memory a process has had.")
    return int(found[1]) * 1024
