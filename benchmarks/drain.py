"""A full queue, drained by one process into smtp-sink."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from servers.process import wait_until

from . import messages
from .disk import commit_seconds
from .filling import fill
from .measure import medians
from .peers import installed
from .pythons import finished, running
from .scale import Scale
from .services import Sink, folder, redis
from .table import Gate, Row, rate, seconds
from .with_flask_outbox import WORKER, environment

CELERY = "Celery -c 2 + Flask-Mail"
POST_OFFICE = "django-post_office"


def run(scale: Scale) -> Iterator[Row]:
    contestants: dict[str, Callable[[], float]] = {"ours": lambda: _ours(scale.drained)}
    if installed("celery", "redis", "flask_mail", "bin:redis-server"):
        contestants[CELERY] = lambda: _celery(scale.drained_by_peers)
    if installed("django", "post_office"):
        contestants[POST_OFFICE] = lambda: _post_office(scale.drained_by_peers)
    figures = medians(contestants, scale.drains)
    for against, gate in ((CELERY, Gate("≥ 10×", least=10)), (POST_OFFICE, Gate("≥ 4×", least=4))):
        theirs = figures.get(against)
        yield Row("durable drain, one process", rate, figures["ours"], against, theirs, gate)
    with folder() as room:
        commit = commit_seconds(room, scale.calls)
    yield Row("  a commit on this disk, synchronous=FULL", seconds, commit)


def _ours(count: int) -> float:
    with folder() as room, Sink(room, counting=True) as sink:
        url = f"sqlite:///{room}/outbox.sqlite"
        fill(url, 1, messages.HTML)
        command, ours = [*WORKER, "--once"], environment(url, sink.port)
        start, _ = finished(command, ours)
        fill(url, count, messages.HTML)
        took, _ = finished(command, ours)
        sink.expect(count + 1)
    return _rate(count, took - start)


def _post_office(count: int) -> float:
    with folder() as room, Sink(room, counting=True) as sink:
        environment = {
            "BENCH_OUTBOX": str(room / "django.sqlite"),
            "BENCH_PORT": str(sink.port),
            "DJANGO_SETTINGS_MODULE": "benchmarks.with_post_office",
        }
        command = ["-m", "django", "send_queued_mail"]
        finished(["-m", "benchmarks.with_post_office", "1"], environment)
        start, _ = finished(command, environment)
        finished(["-m", "benchmarks.with_post_office", str(count)], environment)
        took, _ = finished(command, environment)
        sink.expect(count + 1)
    return _rate(count, took - start)


def _celery(count: int) -> float:
    """A worker of Celery does not end when its queue is empty: its time is from the first message to the last."""
    with folder() as room, Sink(room, counting=True) as sink, redis(room) as url:
        environment = {"BENCH_BROKER": url, "BENCH_PORT": str(sink.port)}
        finished(["-m", "benchmarks.with_celery", str(count)], environment)
        command = ["-m", "celery", "-A", "benchmarks.with_celery", "worker", "-c", "2"]
        with running(command, environment, room / "celery.log"):
            wait_until(lambda: sink.count() > 0, "first message")
            first, started = sink.count(), time.perf_counter()
            wait_until(lambda: sink.count() >= count, f"{count} messages", deadline=600)
            return (count - first) / (time.perf_counter() - started)


def _rate(count: int, took: float) -> float:
    """Messages a second; the start of a process varies by more than a handful of messages takes."""
    return count / max(took, 0.001)
