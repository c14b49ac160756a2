"""Round trips a message, counted by a server: how often it has to wait for the client before it can go on."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Callable, Iterator

from flask_outbox.delivery.courier import Unconditional
from flask_outbox.transports.smtp import SmtpSettings, SmtpTransport
from servers.scripted import ScriptedServer

from . import messages
from .peers import installed
from .scale import Scale
from .table import Gate, Row, count
from .with_flask_outbox import draft, sealed

#: Messages on one connection, fewer than after which ours is replaced.
_MESSAGES = 50


def run(scale: Scale) -> Iterator[Row]:
    """The same at every scale: counts do not wobble."""
    queued = _warm(lambda port: asyncio.run(_ours(port, at_once=True)))
    single = _warm(lambda port: asyncio.run(_ours(port, at_once=False)))
    smtplib_ = _warm(_smtplib)
    gate = Gate("≤ 1.2", most=1.2, absolute=True)
    yield Row("round trips a message, warm connection", count, queued, "smtplib", smtplib_, gate)
    theirs = _flask_mail() if installed("flask_mail") else None
    yield Row("  beside, which opens one a message", count, queued, "Flask-Mail", theirs)
    yield Row("  one after the other was accepted", count, single, "smtplib", smtplib_)


def _warm(send: Callable[[int], object]) -> float:
    """Without what it takes to open the connection."""
    with ScriptedServer() as server:
        send(server.port)
        trips = sum(len(session.letter_trips) for session in server.sessions)
        return trips / len(server.messages)


async def _ours(port: int, *, at_once: bool) -> None:
    transport = SmtpTransport(SmtpSettings("127.0.0.1", port, tls="never", pool_size=1))
    letter = sealed(draft(messages.TEXT))

    async def send() -> None:
        await transport.deliver(letter, letter.envelope_to, Unconditional())

    if at_once:
        await asyncio.gather(*(send() for _ in range(_MESSAGES)))
    else:
        for _ in range(_MESSAGES):
            await send()
    await transport.aclose()


def _smtplib(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        for _ in range(_MESSAGES):
            client.sendmail(messages.SENDER, [messages.RECIPIENT], b"Hello\r\n")


def _flask_mail() -> float:
    """All of them: each message pays for its own connection."""
    from . import with_flask_mail

    with ScriptedServer() as server:
        app, mail = with_flask_mail.application(server.port)
        with app.app_context():
            for _ in range(_MESSAGES):
                mail.send(with_flask_mail.draft(messages.TEXT))
        return sum(len(session.trips) for session in server.sessions) / len(server.messages)
