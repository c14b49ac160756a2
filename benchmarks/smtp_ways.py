"""Ways to send one message many times over SMTP, each a function of where to and how much."""

from __future__ import annotations

import asyncio
import json
import os
import smtplib
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from . import ROOT, messages
from .peers import NODE_MODULES
from .with_flask_outbox import draft, sealed


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: so many messages over so many connections to a port of this machine."""

    port: int
    count: int
    connections: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What a number of messages took: CPU seconds of this process, and seconds by the clock, each a message."""

    cpu: float
    wall: float


def spent(way: Callable[[], float | None], count: int) -> Callable[[], Spent]:
    """Measure a way; one that runs a program of its own may tell its seconds itself."""

    def figure() -> Spent:
        cpu, wall = time.process_time(), time.perf_counter()
        own = way()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return Spent(cpu / count, (wall if own is None else own) / count)

    return figure


def ours(load: Load) -> None:
    """Each letter is composed as it is sent; the others may get theirs as bytes."""
    asyncio.run(_ours(load))


async def _ours(load: Load) -> None:
    from flask_outbox.delivery.courier import Unconditional
    from flask_outbox.transports.smtp import SmtpSettings, SmtpTransport

    settings = SmtpSettings(
        host="127.0.0.1", port=load.port, tls="never", pool_size=load.connections
    )
    transport = SmtpTransport(settings)
    letter = sealed(draft(messages.HTML))
    left = iter(range(load.count))

    async def send() -> None:
        for _ in left:
            report = await transport.deliver(letter, letter.envelope_to, Unconditional())
            if not report.all_accepted:
                raise RuntimeError(str(report))

    async with asyncio.TaskGroup() as sending:
        for _ in range(transport.concurrency):
            sending.create_task(send())
    await transport.aclose()


def with_aiosmtplib(load: Load, content: bytes | Message) -> None:
    """Bytes by ``sendmail``, a message, which it composes, by ``send_message``."""
    asyncio.run(_aiosmtplib(load, content))


async def _aiosmtplib(load: Load, content: bytes | Message) -> None:
    import aiosmtplib

    left = iter(range(load.count))

    async def send() -> None:
        server = {"hostname": "127.0.0.1", "port": load.port}
        async with aiosmtplib.SMTP(**server, start_tls=False) as client:
            for _ in left:
                if isinstance(content, bytes):
                    await client.sendmail(messages.SENDER, [messages.RECIPIENT], content)
                else:
                    await client.send_message(content)

    async with asyncio.TaskGroup() as sending:
        for _ in range(load.connections):
            sending.create_task(send())


def with_smtplib(load: Load, content: bytes) -> None:
    """A thread for each connection."""

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", load.port) as client:
            for _ in range(load.count // load.connections):
                client.sendmail(messages.SENDER, [messages.RECIPIENT], content)

    threads = [threading.Thread(target=send) for _ in range(load.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def with_smtp_source(load: Load, content: Path) -> None:
    envelope = ["-f", messages.SENDER, "-t", messages.RECIPIENT]
    amount = ["-s", str(load.connections), "-m", str(load.count), "-d", "-F", str(content)]
    subprocess.run(
        ["smtp-source", *amount, *envelope, f"127.0.0.1:{load.port}"],
        check=True,
    )


def with_nodemailer(load: Load, content: Path) -> float:
    """Seconds by its own clock, the start of node left out."""
    amount = [str(load.port), str(load.count), str(load.connections), str(content)]
    done = subprocess.run(
        ["node", str(ROOT / "benchmarks/nodemailer.cjs"), *amount],
        env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(json.loads(done.stdout)["seconds"])
