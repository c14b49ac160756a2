"""The switches: ``up.py``, which started the processes, says how the worker is; the pages ask it to act."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

#: Names the pipe to ``up.py`` in the web process; missing where the app was started without it.
PIPE = "DEMO_CONTROL_PIPE"

#: Names the ports of the compared apps there, as JSON by the app's name.
PORTS = "DEMO_PORTS"

#: The compared apps, ``before.py`` and ``after.py``.
APPS = ("before", "after")

#: Those that are on Celery, each with a worker beside it. They are started when one of them is asked for.
CELERY_APPS = ("before_celery", "after_celery")
CELERY = "celery"


class Order(StrEnum):
    """What the page may ask for."""

    KILL = "kill"
    START = "start"


class Condition(StrEnum):
    """How the worker is."""

    RUNNING = "running"
    KILLED = "killed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Worker:
    """The worker as ``up.py`` last saw it.

    :param since: Unix seconds.
    :param restart: when it is started again by itself, in Unix seconds, or None.
    """

    pid: int
    condition: Condition
    since: float
    restart: float | None = None

    def write(self, folder: Path) -> None:
        part = folder / "worker.json.part"
        part.write_text(json.dumps(asdict(self)), encoding="utf-8")
        part.replace(folder / "worker.json")

    @classmethod
    def read(cls, folder: Path) -> Worker | None:
        """The worker, or None where nobody looks after it."""
        if PIPE not in os.environ:
            return None
        given = json.loads((folder / "worker.json").read_text(encoding="utf-8"))
        return cls(**given | {"condition": Condition(given["condition"])})


def ask(order: Order, whom: str = "worker") -> None:
    """Pass an order on to ``up.py``: for the worker, to start Celery, or to kill one of the compared apps.

    :raises KeyError: nobody looks after it.
    """
    os.write(int(os.environ[PIPE]), f"{order} {whom}\n".encode())


def ports() -> dict[str, int]:
    """Where the compared apps listen, those on Celery where that is here; empty where nobody looks after them."""
    given: dict[str, int] = json.loads(os.environ.get(PORTS, "{}"))
    return given


def worker_of(app: str) -> str:
    """What the worker of Celery beside an app is called."""
    return f"{app} worker"


def celery_is_here() -> bool:
    """Whether Celery can be compared, with a Redis of its own."""
    return bool(shutil.which("redis-server") and find_spec("celery") and find_spec("redis"))
