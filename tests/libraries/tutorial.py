"""How Flask-Mail's tutorials send: a thread for each mail, which pushes the application's context.

Only the import of ``Mail`` and ``Message`` was changed.
"""

from __future__ import annotations

import os
from threading import Thread

from flask import Flask, copy_current_request_context, current_app

if os.environ["FACE"] == "original":
    from flask_mail import Mail, Message
else:
    from flask_outbox import Mail, Message

mail = Mail()


def send_async_email(app: Flask, msg: Message) -> None:
    with app.app_context():
        mail.send(msg)


def reset_message(name: str) -> Message:
    msg = Message("Reset your password", sender="app@example.org")
    msg.recipients = [f"{name}@example.org"]
    msg.body = "Follow this link: http://localhost/reset\n"
    msg.html = "<p>Follow <a href='http://localhost/reset'>this link</a>.</p>"
    return msg


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.from_prefixed_env()
    mail.init_app(app)

    @app.post("/context-pushed/<name>")
    def context_pushed(name: str) -> dict[str, int]:
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        Thread(target=send_async_email, args=(app, reset_message(name))).start()
        return {"pid": os.getpid()}

    @app.post("/context-copied/<name>")
    def context_copied(name: str) -> dict[str, int]:
        msg = reset_message(name)

        @copy_current_request_context
        def send() -> None:
            mail.send(msg)

        Thread(target=send).start()
        return {"pid": os.getpid()}

    return app
