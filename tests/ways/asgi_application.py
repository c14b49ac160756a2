"""The application with async views: Flask's, Flask's behind asgiref, and Quart's. Each loads what it needs alone."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask

from flask_outbox import Message
from journeys import application
from journeys.application import mail

if TYPE_CHECKING:
    from asgiref.wsgi import WsgiToAsgi
    from quart import Quart


def create_flask() -> Flask:
    app = application.create_app()
    add_async_views(app)
    return app


def create_asgi() -> WsgiToAsgi:
    from asgiref.wsgi import WsgiToAsgi

    return WsgiToAsgi(create_flask())


def create_quart() -> Quart:
    """The same, as one writes it in Quart."""
    from quart import Quart

    app = Quart(__name__)
    app.config.from_prefixed_env("FLASK")
    mail.init_app(app)
    add_async_views(app)

    @app.get("/")
    async def index() -> str:
        return "ok"

    @app.post("/send/<int:count>")
    async def send(count: int) -> dict[str, list[str]]:
        return {"ids": [(await mail.send_async(unnumbered())).id for _ in range(count)]}

    return app


def letter(number: int) -> Message:
    """The message of that number, which the server knows it by."""
    message = Message(f"Number {number}", recipients=[f"user{number}@example.org"], body="Hi")
    message.msgId = f"<{number}@flask-outbox>"
    return message


def unnumbered() -> Message:
    """A message that the server knows by its letter's id."""
    return Message("Hello", recipients=["user@example.org"], body="Hi")


def add_async_views(app: Flask | Quart) -> None:
    """The views that are alike in both."""

    @app.get("/pid")
    async def pid() -> str:
        return str(os.getpid())

    @app.post("/fork")
    async def fork() -> dict[str, int]:
        child = os.fork()
        if not child:
            send_both_and_exit()
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        return {"ended": os.waitstatus_to_exitcode(status)}

    @app.post("/await/<engine>/<int:number>")
    async def awaits(engine: str, number: int) -> dict[str, str]:
        return {"state": (await mail.send_async(letter(number), engine=engine)).state}

    @app.post("/turns/<engine>/<int:number>")
    async def turns(engine: str, number: int) -> dict[str, str]:
        sending = asyncio.ensure_future(mail.send_async(letter(number), engine=engine))
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not sending.done()
        tell(f"turned {number}")
        return {"state": (await sending).state}

    @app.post("/leave/<int:number>")
    async def leave(number: int) -> dict[str, int]:
        import aiosmtplib

        async def by_aiosmtplib() -> None:
            other = (
                f"From: a@example.org\nTo: b@example.org\nMessage-ID: <{number}@aiosmtplib>\n\nHi"
            )
            await aiosmtplib.send(
                other.encode(),
                sender="a@example.org",
                recipients=["b@example.org"],
                hostname="127.0.0.1",
                port=int(os.environ["SMTP_PORT"]),
            )

        asyncio.create_task(mail.send_async(letter(number), engine="background"))  # noqa: RUF006
        asyncio.create_task(by_aiosmtplib()).add_done_callback(
            lambda task: tell(f"{'cancelled' if task.cancelled() else 'sent'} {number}")
        )
        return {"left": number}

    @app.post("/disconnected/<int:number>")
    async def disconnected(number: int) -> dict[str, str]:
        sending = mail.send_async(letter(number))
        tell(f"begun {number}")
        try:
            return {"state": (await sending).state}
        except asyncio.CancelledError:
            tell(f"cancelled {number}")
            raise


def send_both_and_exit() -> None:
    """Send a letter over the outbox, and one by this process itself."""
    try:
        mail.send(unnumbered())
        mail.send(unnumbered(), engine="immediate")
    except BaseException:
        os._exit(1)
    os._exit(0)


def tell(what: str) -> None:
    """Let the test know."""
    Path(os.environ["TOLD"], what).touch()
