"""The application with Flask-Outbox."""

from __future__ import annotations

import os
import time
from typing import Any

from flask import Flask
from flask.cli import ScriptInfo

from flask_outbox import Mail, Message
from flask_outbox._cli import mail_cli
from flask_outbox._message import new_id
from flask_outbox.mail.letter import Letter
from flask_outbox.mail.seal import SealDefaults, seal

from . import messages

#: Python's arguments for its worker; the environment tells it which outbox and which server. As ``flask mail worker``,
#: but for the commands of other packages: Flask loads those of all that are installed, and so do the tests' libraries.
WORKER = ["-m", "benchmarks.with_flask_outbox", "worker"]


def environment(url: str, port: int) -> dict[str, str]:
    """What tells it: the outbox of any database, and the port of the mail server."""
    return {"BENCH_OUTBOX": url, "BENCH_PORT": str(port)}


def web(port: int) -> list[str]:
    """Those for its web server."""
    listen = f"--listen=127.0.0.1:{port}"
    return ["-m", "waitress", listen, "--call", "benchmarks.with_flask_outbox:create_app"]


def draft(fields: dict[str, Any]) -> Message:
    """One of :mod:`.messages` as the view writes it."""
    return Message(**fields, **messages.ENVELOPE)


def sealed(message: Message) -> Letter:
    """A letter of its own at each call."""
    now = time.time()
    return seal(message, id=new_id(now), now=now, defaults=SealDefaults())


def application(url: str, port: int, **settings: str) -> tuple[Flask, Mail]:
    """An application whose outbox is there and whose server listens on that port; by itself it runs no worker."""
    app = Flask("bench")
    app.config.update(
        MAIL_URL=f"smtp://127.0.0.1:{port}?pool=10",
        MAIL_OUTBOX_URL=url,
        MAIL_WORKER="external",
        MAIL_DEFAULT_SENDER=messages.SENDER,
    )
    app.config.update(settings)
    return app, Mail(app)


def create_app() -> Flask:
    """For :data:`WORKER` and :func:`web`: what :func:`application` makes, with a page."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("MAIL_")}
    app, _ = application(os.environ["BENCH_OUTBOX"], int(os.environ["BENCH_PORT"]), **settings)
    app.add_url_rule("/", view_func=lambda: "ok")
    return app


if __name__ == "__main__":
    mail_cli(obj=ScriptInfo(create_app=create_app))
