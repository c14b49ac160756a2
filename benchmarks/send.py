"""``mail.send`` as the view sees it: how long the user waits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from . import messages, with_flask_outbox
from .measure import computing, medians, waiting
from .peers import installed
from .scale import Scale
from .services import Sink, folder, redis
from .table import Gate, Row, seconds
from .written import copied, written

BARE = "bare sqlite3, FULL"
CELERY = "Celery .delay(), Redis AOF always"


def run(scale: Scale) -> Iterator[Row]:
    with ExitStack() as running:
        room = running.enter_context(folder())
        sink = running.enter_context(Sink(room))
        send, ways = _ours(room, sink.port, running)
        if installed("flask_mail"):
            ways["Flask-Mail"] = _flask_mail(sink.port)
        if installed("celery", "redis", "bin:redis-server"):
            ways[CELERY] = _celery(running.enter_context(redis(room)), running)
        ways = {"ours": send, **ways}
        figures = medians({name: waiting(way) for name, way in ways.items()}, scale.calls)
        work = {name: computing(way, scale.burst) for name, way in ways.items()}
        cpu = medians(work, scale.rounds)
    for what, against, gate in (
        ("mail.send(), outbox on SQLite", BARE, Gate("≤ 2×", most=2.0)),
        ("  beside", "Flask-Mail", None),
        ("  beside", CELERY, None),
    ):
        yield Row(what, seconds, figures["ours"], against, figures.get(against), gate)
    # By the clock this one is the disk's: its sync alone may take more than a fifth of Flask-Mail's time.
    for against, gate in (("Flask-Mail", Gate("≤ 1/5", most=1 / 5)), (BARE, None)):
        yield Row("mail.send(), CPU of it", seconds, cpu["ours"], against, cpu.get(against), gate)


def _ours(
    room: Path, port: int, running: ExitStack
) -> tuple[Callable[[], object], dict[str, Callable[[], object]]]:
    """What sends with our outbox, and what writes the same rows without us."""
    app, mail = with_flask_outbox.application(f"sqlite:///{room}/outbox.sqlite", port)

    def send() -> None:
        with app.app_context():
            mail.send(with_flask_outbox.draft(messages.HTML))

    with app.app_context():
        letter_id = mail.send(with_flask_outbox.draft(messages.HTML)).id
    return send, {BARE: _bare(room, letter_id, running)}


def _bare(room: Path, letter_id: str, running: ExitStack) -> Callable[[], object]:
    rows = written(room / "outbox.sqlite", letter_id)
    connection = copied(room / "outbox.sqlite", room / "bare.sqlite")
    running.callback(connection.close)
    statements = [row.insert for row in rows]

    def write() -> None:
        new_id = os.urandom(16).hex()
        connection.execute("BEGIN IMMEDIATE")
        for statement, row in zip(statements, rows, strict=True):
            connection.execute(statement, row.under(new_id))
        connection.execute("COMMIT")

    return write


def _flask_mail(port: int) -> Callable[[], object]:
    from . import with_flask_mail

    app, mail = with_flask_mail.application(port)

    def send() -> None:
        with app.app_context():
            mail.send(with_flask_mail.draft(messages.HTML))

    return send


def _celery(url: str, running: ExitStack) -> Callable[[], object]:
    from .with_celery import celery
    from .with_celery import send as task

    celery.conf.broker_url = url
    running.callback(celery.close)
    fields = messages.HTML
    return lambda: task.delay(fields)
