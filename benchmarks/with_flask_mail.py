"""The application with Flask-Mail."""

from __future__ import annotations

from typing import Any

from flask import Flask

from flask_mail import Mail, Message

from . import messages


def draft(fields: dict[str, Any]) -> Message:
    """One of :mod:`.messages` as the view writes it; needs an application's context."""
    return Message(**fields, **messages.ENVELOPE)


def application(port: int) -> tuple[Flask, Mail]:
    """An application whose server listens on that port."""
    app = Flask("bench")
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=port, MAIL_DEFAULT_SENDER=messages.SENDER)
    return app, Mail(app)
