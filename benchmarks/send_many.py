"""``mail.send_many``: how many messages a second are stored, beside the same rows written by the bare driver."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from flask_outbox._message import new_id

from . import messages, with_flask_outbox
from .measure import medians
from .scale import Scale
from .services import folder
from .table import Row, rate
from .written import Written, copied, written

#: Messages in a transaction, of ours and of the floor's.
_GROUP = 500


def run(scale: Scale) -> Iterator[Row]:
    with ExitStack() as running:
        room = running.enter_context(folder())
        send, letter_id = _ours(room, scale.stored)
        rows = written(room / "outbox.sqlite", letter_id)
        connection = copied(room / "outbox.sqlite", room / "bare.sqlite")
        running.callback(connection.close)

        places = itertools.count(1)

        def bare() -> None:
            for start in range(0, scale.stored, _GROUP):
                connection.execute("BEGIN IMMEDIATE")
                for row, values in _copies(rows, min(_GROUP, scale.stored - start), places):
                    connection.executemany(row.insert, values)
                connection.execute("COMMIT")

        ways = {"ours": send, "bare": bare}
        figures = medians(
            {name: _speed(way, scale.stored) for name, way in ways.items()}, scale.drains
        )
    against = f"bare sqlite3, {_GROUP} a commit"
    yield Row("send_many(), outbox on SQLite", rate, figures["ours"], against, figures["bare"])


def _ours(room: Path, count: int) -> tuple[Callable[[], object], str]:
    """What stores a batch of ours, and the id of one of its letters."""
    app, mail = with_flask_outbox.application(f"sqlite:///{room}/outbox.sqlite", 25)

    def send(count: int = count) -> str:
        with app.app_context():
            batch = mail.send_many(with_flask_outbox.draft(messages.HTML) for _ in range(count))
            return next(iter(batch.ids()))

    return send, send(1)


def _copies(
    rows: list[Written], count: int, places: Iterator[int]
) -> Iterator[tuple[Written, list[tuple[object, ...]]]]:
    """The rows of so many further letters, whose ids are as close to each other as ours and whose places follow."""
    ids = [new_id(time.time()) for _ in range(count)]
    for row in rows:
        values = [row.under(new_id) for new_id in ids]
        if "position" in row.columns:
            at = row.columns.index("position")
            values = [(*one[:at], next(places), *one[at + 1 :]) for one in values]
        yield row, values


def _speed(way: Callable[[], object], count: int) -> Callable[[], float]:
    def figure() -> float:
        started = time.perf_counter()
        way()
        return count / (time.perf_counter() - started)

    return figure
