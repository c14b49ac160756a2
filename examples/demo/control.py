"""The worker's switch: ``up.py``, which started the worker, says how it is; the page asks it to act."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

#: Names the pipe to ``up.py`` in the web process; missing where the app was started without it.
PIPE = "DEMO_CONTROL_PIPE"


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


def ask(order: Order) -> None:
    """Pass an order on to ``up.py``.

    :raises KeyError: nobody looks after the worker.
    """
    os.write(int(os.environ[PIPE]), f"{order}\n".encode())
