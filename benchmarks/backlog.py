"""A full outbox: what a claim costs, and what a worker needs in memory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Terms
from servers.process import wait_until

from . import messages
from .filling import fill, multiply
from .measure import medians, waiting
from .pythons import finished, running
from .scale import Scale
from .services import Sink, folder
from .table import Gate, Row, megabytes, seconds
from .with_flask_outbox import WORKER

#: Letters a claim takes: as many as a worker with ten connections has room for.
_CLAIM = 20

_FLAT = Gate("≤ 1.2×", most=1.2)


def run(scale: Scale) -> Iterator[Row]:
    with folder() as room:
        small, full, behind = (room / f"{name}.sqlite" for name in ("small", "full", "behind"))
        _fill(small, scale.small_backlog)
        _fill(full, scale.backlog)
        _fill(behind, scale.small_backlog)
        _fill(behind, scale.backlog, Terms(transport="bulk", priority=0))
        yield from _claims(scale, {"small": small, "full": full, "behind": behind})
        yield _memory(scale, room, full)


def _fill(outbox: Path, count: int, terms: Terms | None = None) -> None:
    multiply(outbox, fill(outbox, 1, messages.SHORT, terms), count - 1)


def _claims(scale: Scale, outboxes: dict[str, Path]) -> Iterator[Row]:
    stores = {name: Store(f"sqlite:///{path}") for name, path in outboxes.items()}
    stores["behind"].pause("bulk", "for the benchmark", by="person")
    claims = medians({name: _claim(store) for name, store in stores.items()}, scale.calls)
    looks = medians({name: _look(store) for name, store in stores.items()}, scale.calls)
    for store in stores.values():
        store.dispose()
    few, many = f"{scale.small_backlog:,} waiting", f"{scale.backlog:,}"
    for what, figures in ((f"claim of {_CLAIM}", claims), ("look at the lanes", looks)):
        for where, name in ((f"{many} waiting", "full"), (f"behind {many} paused", "behind")):
            yield Row(f"{what}, {where}", seconds, figures[name], few, figures["small"], _FLAT)


def _claim(store: Store) -> Callable[[], float]:
    def figure() -> float:
        started = time.perf_counter()
        found = store.claim("default", 1, _CLAIM, now=time.time(), lease=30.0)
        took = time.perf_counter() - started
        if len(found) != _CLAIM:
            raise RuntimeError(f"{len(found)} letters were claimed, not {_CLAIM}.")
        store.release(found, time.time())
        return took

    return figure


def _look(store: Store) -> Callable[[], float]:
    return waiting(lambda: store.agenda(time.time()))


def _memory(scale: Scale, room: Path, outbox: Path) -> Row:
    """The most that ``flask mail worker`` ever had while it drained, beside what it has before it does anything."""
    with Sink(room, counting=True) as sink:
        environment = {"BENCH_OUTBOX": str(outbox), "BENCH_PORT": str(sink.port)}
        # Compiling takes more memory than anything later, and an installed one has been compiled.
        finished([*WORKER, "--once"], {**environment, "BENCH_OUTBOX": str(room / "empty.sqlite")})
        with running(WORKER, environment, room / "worker.log") as worker:
            wait_until(
                lambda: sink.count() >= scale.drained, f"{scale.drained} messages", deadline=120
            )
            most = _peak(Path(f"/proc/{worker.pid}/status").read_text())
    code = (
        "import flask, sqlalchemy, sqlite3, asyncio, ssl; print(open('/proc/self/status').read())"
    )
    _, bare = finished(["-c", code])
    return Row(
        f"worker memory (RSS, peak), {scale.backlog:,} waiting",
        megabytes,
        most,
        "Flask and SQLAlchemy imported",
        _peak(bare),
        Gate("≤ 60 MB", most=60e6, absolute=True),
    )


def _peak(status: str) -> float:
    """VmHWM of proc_pid_status(5), in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError("This system does not tell how much memory a process has had.")
    return int(found[1]) * 1024
