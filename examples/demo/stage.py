"""What the compared apps need to be watched: a clock, a pulse, and what they still hold of a mail."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from flask import Flask, Response, abort, g, request
from spool import Spool
from werkzeug.exceptions import HTTPException

FOLDER = Path(os.environ.get("DEMO_DIR", Path(__file__).parent / "instance")).resolve()


@dataclass(frozen=True, slots=True)
class Held:
    """What a process knows of a mail.

    :param state: in a word; "" where the process has nothing, and nothing will come of it.
    :param said: the last thing that went wrong.
    """

    state: str
    said: str = ""
    attempts: int = 0


def mail_server_port() -> int:
    return Spool(FOLDER / "mailserver").port() or 2525


def broker(number: int) -> str:
    """The database of that number of the Redis that ``up.py`` has started."""
    return f"redis://127.0.0.1:{os.environ.get('DEMO_BROKER_PORT', '6379')}/{number}"


def lend(app: Flask, held: Callable[[str], Held]) -> None:
    """Add to an app what the comparison asks it."""

    @app.before_request
    def only_the_demo() -> None:
        """The demo asks from this machine, and is no browser: those always name the page they come from."""
        if {"Origin", "Sec-Fetch-Site"} & set(request.headers.keys()):
            abort(403)
        g.started = time.perf_counter()

    @app.after_request
    def stop_the_clock(response: Response) -> Response:
        took = (time.perf_counter() - g.started) * 1000 if "started" in g else 0
        response.headers["Server-Timing"] = f"view;dur={took:.3f}"
        return response

    @app.errorhandler(Exception)
    def fail(error: Exception) -> tuple[str, int] | HTTPException:
        return error if isinstance(error, HTTPException) else (said_by(error), 500)

    @app.get("/health")
    def health() -> dict[str, int]:
        return {"pid": os.getpid()}

    @app.get("/held/<email>")
    def what_is_held(email: str) -> dict[str, object]:
        return asdict(held(email))


def hear(tell: Callable[[str], None]) -> None:
    """Have it told what a thread died of, which goes to the log alone otherwise."""

    def note(death: threading.ExceptHookArgs) -> None:
        tell(said_by(death.exc_value))
        threading.__excepthook__(death)

    threading.excepthook = note


def said_by(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
