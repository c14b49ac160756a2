"""What an application pays at its start, measured in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .measure import medians
from .peers import installed
from .pythons import finished
from .scale import Scale
from .table import Gate, Row, seconds

_TIMED = """
import time
from flask import Flask
{before}
started = time.perf_counter()
{statement}
print(time.perf_counter() - started)
"""


def run(scale: Scale) -> Iterator[Row]:
    packages = ["flask_outbox", *(["flask_mail"] if installed("flask_mail") else [])]
    contestants = {name: _timed("", f"import {name}") for name in packages}
    contestants |= {
        f"{name} init": _timed(f"from {name} import Mail; app = Flask('bench')", "Mail(app)")
        for name in packages
    }
    figures = medians(contestants, scale.processes)
    gate = Gate("≤ 15 ms", most=0.015, absolute=True)
    ours, theirs = figures["flask_outbox"], figures.get("flask_mail")
    yield Row("import, over Flask alone", seconds, ours, "Flask-Mail", theirs, gate)
    ours, theirs = figures["flask_outbox init"], figures.get("flask_mail init")
    yield Row("init_app, the first in a process", seconds, ours, "Flask-Mail", theirs)


def _timed(before: str, statement: str) -> Callable[[], float]:
    code = _TIMED.format(before=before, statement=statement)

    def figure() -> float:
        _, written = finished(["-c", code])
        return float(written)

    return figure
