"""After, with Celery: Flask-Outbox, whose mail Celery's worker sends.

``up.py`` starts it as a process of its own, and a worker of Celery beside it, so that both can be killed.
"""

import stage
from celery import Celery
from flask import Flask, request

from flask_outbox import Mail, Message

app = Flask(__name__, instance_path=str(stage.FOLDER / "after_celery"))
app.config.update(
    MAIL_SERVER="127.0.0.1",
    MAIL_PORT=stage.mail_server_port(),
    MAIL_DEFAULT_SENDER="demo@example.org",
    MAIL_ENGINE="celery",
    # For people who watch: by default these are half a minute.
    MAIL_RETRY_DELAYS=(1, 2, 3),
    MAIL_BREAKER_PAUSE=2,
)
celery = app.extensions["celery"] = Celery("after", broker=stage.broker(1))
mail = Mail(app)


@app.post("/celery")
def welcome():
    message = Message(
        "Welcome",
        recipients=[request.form["email"]],
        body="Hello",
    )
    mail.send(message)
    return "Check your inbox."


def held(email: str) -> stage.Held:
    """What the outbox knows of a mail."""
    for view in mail.messages(limit=200):
        if email in view.to:
            said = view.attempts[-1].text if view.attempts else ""
            return stage.Held(view.state, said, len(view.attempts))
    return stage.Held("")


stage.lend(app, held)
