"""The application that the journeys run in processes of their own; its settings come from the environment."""

from __future__ import annotations

from flask import Flask, request

from flask_outbox import Mail, Message

mail = Mail()


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.from_prefixed_env()
    mail.init_app(app)

    @app.post("/send/<int:count>")
    def send(count: int) -> dict[str, list[str]]:
        first = request.args.get("first", default=0, type=int)
        return {"ids": [send_one(number) for number in range(first, first + count)]}

    @app.get("/")
    def index() -> str:
        return "ok"

    return app


def send_one(number: int) -> str:
    """Send the letter of that number; its id."""
    message = Message(
        f"Number {number}",
        recipients=[f"user{number}@example.org"],
        body=f"This is number {number}.\n",
        html=f"<p>This is number {number}.</p>",
    )
    return mail.send(message).id
