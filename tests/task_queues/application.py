"""The application whose mail the workers of a task queue send; its settings come from the environment."""

from __future__ import annotations

from typing import Any

from flask import Flask

from flask_outbox import Mail, Message

mail = Mail()


def create_app(queue: Any = None, **settings: Any) -> Flask:
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.update(settings, MAIL_TASK_QUEUE=queue)
    mail.init_app(app)
    return app


def greet_by(app: Flask, address: str) -> None:
    """What a task of the user's own does."""
    with app.app_context():
        mail.send(Message("Hello", recipients=[address], body="Welcome."))
