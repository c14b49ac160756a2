"""After: Flask-Outbox, each of its engines in the same call. The worker is a thread of this process.

``up.py`` starts it as a process of its own, so that it can be killed.
"""

from typing import Any

import stage
from flask import Flask, request

from flask_outbox import (
    Mail,
    Message,
    email_dispatched,
    message_dead,
    message_deferred,
    message_sent,
)

app = Flask(__name__, instance_path=str(stage.FOLDER / "after"))
app.config.update(
    MAIL_SERVER="127.0.0.1",
    MAIL_PORT=stage.mail_server_port(),
    MAIL_DEFAULT_SENDER="demo@example.org",
    # For people who watch: by default these are half a minute.
    MAIL_RETRY_DELAYS=(1, 2, 3),
    MAIL_BREAKER_PAUSE=2,
)
mail = Mail(app)


@app.post("/immediate")
def immediate():
    message = Message(
        "Welcome",
        recipients=[request.form["email"]],
        body="Hello",
    )
    mail.send(message, engine="immediate")
    return "Check your inbox."


@app.post("/background")
def background():
    message = Message(
        "Welcome",
        recipients=[request.form["email"]],
        body="Hello",
    )
    mail.send(message, engine="background")
    return "Check your inbox."


@app.post("/outbox")
def outbox():
    message = Message(
        "Welcome",
        recipients=[request.form["email"]],
        body="Hello",
    )
    mail.send(message)
    return "Check your inbox."


#: What the signals said last of each address. It is lost with the process, as what is in memory alone.
told: dict[str, stage.Held] = {}


@email_dispatched.connect
def taken(app: Flask, message: Message, **rest: Any) -> None:
    for address in message.send_to:
        told.setdefault(str(address), stage.Held("waiting"))


@message_sent.connect
def sent(app: Flask, report: Any, **rest: Any) -> None:
    tell("sent", report)


@message_deferred.connect
def deferred(app: Flask, report: Any, **rest: Any) -> None:
    tell("retrying", report)


@message_dead.connect
def dead(app: Flask, report: Any, **rest: Any) -> None:
    tell("dead", report)


def tell(state: str, report: Any) -> None:
    for address, outcome in report:
        before = told.get(address, stage.Held(""))
        told[address] = stage.Held(state, outcome.text, before.attempts + 1)


def held(email: str) -> stage.Held:
    """What the outbox knows of a mail; what only the memory holds, by what the signals said."""
    for view in mail.messages(limit=200):
        if email in view.to:
            said = view.attempts[-1].text if view.attempts else ""
            return stage.Held(view.state, said, len(view.attempts))
    return told.get(email, stage.Held(""))


stage.lend(app, held)
