"""The application that is run in all these ways; its settings come from the environment."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import click
from flask import Flask, Response, jsonify, request

from flask_outbox import Message
from journeys import application
from journeys.application import mail
from servers.process import wait_until


def create_app() -> Flask:
    """The journeys' application, which also tells its process and forks one."""
    app = application.create_app()

    @app.cli.command("upgrade")
    def upgrade() -> None:
        """Change what has nothing to do with mail."""
        print("upgraded")

    @app.cli.command("execute")
    @click.argument("script", type=Path)
    def execute(script: Path) -> None:
        """Do what a script says, as a command of the application."""
        exec(script.read_text(), {"app": app})

    @app.get("/pid")
    def pid() -> str:
        return str(os.getpid())

    @app.post("/linger/<int:count>")
    def linger(count: int) -> Response:
        """Send and answer, and then do not come to an end before there is a file of that name."""
        answer = jsonify(ids=[application.send_one(number) for number in range(count)])
        answer.call_on_close(lambda: wait_until(Path("go").exists, "go"))
        return answer

    @app.post("/fork")
    def fork() -> dict[str, int]:
        first = request.args.get("first", default=0, type=int)
        child = os.fork()
        if not child:
            # Never to return into the server's code.
            try:
                send_both(app, first)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        return {"ended": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}

    return app


def send_both(app: Flask, first: int) -> None:
    """Send a letter over the outbox, and one by this process itself."""
    with app.app_context():
        mail.send(letter(first))
        mail.send(letter(first + 1), engine="immediate")


def letter(number: int) -> Message:
    """The message of that number."""
    return Message(
        f"Number {number}", recipients=[f"user{number}@example.org"], body=f"Number {number}.\n"
    )
