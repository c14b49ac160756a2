"""From a message to the bytes that travel: our composer beside Flask-Mail's, which is the ``email`` package."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from flask_outbox.mail.mime import compose

from . import messages, with_flask_outbox
from .measure import computing, medians
from .peers import installed
from .scale import Scale
from .table import Gate, Row, seconds

_GATE = Gate("≤ 1/20", most=1 / 20)

# The same at every run.
_ATTACHED = random.Random(1).randbytes(1_000_000)
_SHOWN = random.Random(2).randbytes(8_000)

#: Each with what is attached to it.
_CASES: tuple[tuple[str, dict[str, Any], bool, Gate | None], ...] = (
    ("text", messages.TEXT, False, _GATE),
    ("2 KB text + html", messages.HTML, False, _GATE),
    ("2 KB text + html, accented", messages.ACCENTS, False, None),
    ("html + inline image + 1 MB attachment", messages.SHOWING, True, _GATE),
)


def run(scale: Scale) -> Iterator[Row]:
    for name, fields, files, gate in _CASES:
        contestants = _contestants(fields, files)
        timed = {each: computing(call, scale.burst) for each, call in contestants.items()}
        figures = medians(timed, scale.rounds)
        theirs = figures.get("Flask-Mail")
        yield Row(f"compose {name}", seconds, figures["compose"], "Flask-Mail", theirs, gate)
        yield Row("  and seal it before", seconds, figures["seal"], "Flask-Mail", theirs)


def _contestants(fields: dict[str, Any], files: bool) -> dict[str, Callable[[], object]]:
    draft = with_flask_outbox.draft(fields)
    if files:
        _attach(draft)
    letter = with_flask_outbox.sealed(draft)
    contestants: dict[str, Callable[[], object]] = {
        "compose": lambda: compose(letter),
        "seal": lambda: compose(with_flask_outbox.sealed(draft)),
    }
    if installed("flask_mail"):
        contestants["Flask-Mail"] = _flask_mail(fields, files)
    return contestants


def _attach(draft: Any) -> None:
    """An image that the HTML shows, and a file; the same for both kinds of Message."""
    shown = {"Content-ID": f"<{messages.CONTENT_ID}>"}
    draft.attach("logo.png", "image/png", _SHOWN, "inline", shown)
    draft.attach("order.bin", "application/octet-stream", _ATTACHED)


def _flask_mail(fields: dict[str, Any], files: bool) -> Callable[[], object]:
    from . import with_flask_mail

    app, _ = with_flask_mail.application(25)
    with app.app_context():
        draft = with_flask_mail.draft(fields)
    if files:
        _attach(draft)

    def compose() -> bytes:
        with app.app_context():
            return draft.as_bytes()

    return compose
