"""Ten connections to smtp-sink on loopback: CPU of the sending process a message, and messages a second."""

from __future__ import annotations

import asyncio
import smtplib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import Message
from pathlib import Path
from statistics import median

from . import messages
from .measure import alternate
from .peers import installed
from .scale import Scale
from .services import Sink, folder
from .table import Gate, Row, rate, seconds
from .with_flask_outbox import draft, sealed

CONNECTIONS = 10

#: Given an EmailMessage, it composes like ours.
COMPOSING = "aiosmtplib, composing"


@dataclass(frozen=True, slots=True)
class Spent:
    """What a number of messages took: CPU seconds of this process, and seconds by the clock, each a message."""

    cpu: float
    wall: float


def run(scale: Scale) -> Iterator[Row]:
    with folder() as room, Sink(room) as sink:
        ways = _ways(sink.port, scale.smtp, room)
        spent = alternate(
            {name: _spent(way, scale.smtp) for name, way in ways.items()}, scale.rounds
        )
    cpu = {name: median(each.cpu for each in found) for name, found in spent.items()}
    speed = {name: median(1 / each.wall for each in found) for name, found in spent.items()}
    gate = Gate("≤ 1/4", most=1 / 4)
    yield Row("SMTP, CPU a message", seconds, cpu["ours"], COMPOSING, cpu.get(COMPOSING), gate)
    for beside in ("aiosmtplib", "smtplib"):
        yield Row("  beside", seconds, cpu["ours"], beside, cpu.get(beside))
    yield Row("SMTP, messages a second", rate, speed["ours"], "aiosmtplib", speed.get("aiosmtplib"))
    yield Row("  beside", rate, speed["ours"], "smtplib, 10 threads", speed["smtplib"])
    yield Row("  beside", rate, speed["ours"], "smtp-source -s 10", speed.get("smtp-source"))


def _ways(port: int, count: int, room: Path) -> dict[str, Callable[[], object]]:
    from flask_outbox.mail.mime import compose

    content = compose(sealed(draft(messages.HTML)))
    ways: dict[str, Callable[[], object]] = {"ours": lambda: asyncio.run(_ours(port, count))}
    if installed("aiosmtplib"):
        ways["aiosmtplib"] = lambda: asyncio.run(_aiosmtplib(port, count, content))
        parsed = message_from_bytes(content, policy=policy.SMTP)
        ways[COMPOSING] = lambda: asyncio.run(_aiosmtplib(port, count, parsed))
    ways["smtplib"] = lambda: _smtplib(port, count, content)
    if installed("bin:smtp-source"):
        (room / "message").write_bytes(content.replace(b"\r\n", b"\n"))
        ways["smtp-source"] = lambda: _smtp_source(port, count, room / "message")
    return ways


def _spent(way: Callable[[], object], count: int) -> Callable[[], Spent]:
    def figure() -> Spent:
        cpu, wall = time.process_time(), time.perf_counter()
        way()
        return Spent((time.process_time() - cpu) / count, (time.perf_counter() - wall) / count)

    return figure


async def _ours(port: int, count: int) -> None:
    """Each letter is composed as it is sent; the others get theirs as bytes."""
    from flask_outbox.delivery.courier import Unconditional
    from flask_outbox.transports.smtp import SmtpSettings, SmtpTransport

    settings = SmtpSettings(host="127.0.0.1", port=port, tls="never", pool_size=CONNECTIONS)
    transport = SmtpTransport(settings)
    letter = sealed(draft(messages.HTML))
    left = iter(range(count))

    async def send() -> None:
        for _ in left:
            report = await transport.deliver(letter, letter.envelope_to, Unconditional())
            if not report.all_accepted:
                raise RuntimeError(str(report))

    async with asyncio.TaskGroup() as sending:
        for _ in range(transport.concurrency):
            sending.create_task(send())
    await transport.aclose()


async def _aiosmtplib(port: int, count: int, content: bytes | Message) -> None:
    import aiosmtplib

    left = iter(range(count))

    async def send() -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
            for _ in left:
                if isinstance(content, bytes):
                    await client.sendmail(messages.SENDER, [messages.RECIPIENT], content)
                else:
                    await client.send_message(content)

    async with asyncio.TaskGroup() as sending:
        for _ in range(CONNECTIONS):
            sending.create_task(send())


def _smtplib(port: int, count: int, content: bytes) -> None:
    def send(messages_each: int) -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            for _ in range(messages_each):
                client.sendmail(messages.SENDER, [messages.RECIPIENT], content)

    threads = [
        threading.Thread(target=send, args=(count // CONNECTIONS,)) for _ in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _smtp_source(port: int, count: int, content: Path) -> None:
    envelope = ["-f", messages.SENDER, "-t", messages.RECIPIENT]
    load = ["-s", str(CONNECTIONS), "-m", str(count), "-d", "-F", str(content)]
    subprocess.run(["smtp-source", *load, *envelope, f"127.0.0.1:{port}"], check=True)
