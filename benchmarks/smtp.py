"""Smtp-sink on loopback: CPU of the sending process a message, and messages a second over 10 connections and one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from pathlib import Path
from statistics import median

from . import messages, smtp_ways
from .measure import alternate
from .peers import installed
from .scale import Scale
from .services import Sink, folder
from .smtp_ways import Load, Spent, spent
from .table import Gate, Row, rate, seconds
from .with_flask_outbox import draft, sealed

CONNECTIONS = 10

#: Given an EmailMessage, it composes like ours.
COMPOSING = "aiosmtplib, composing"

PEERS = ("aiosmtplib", "smtplib", "nodemailer", "smtp-source")

#: Those that wait for each answer. Nodemailer sends an envelope in one go, two round trips a message; RFC 2920 lets
#: nobody need less than one on a connection, so that no gate above 2 could hold against it.
GATED = ("aiosmtplib", "smtplib", "smtp-source")


def run(scale: Scale) -> Iterator[Row]:
    with folder() as room, Sink(room) as sink:
        many = _measured(Load(sink.port, scale.smtp, CONNECTIONS), room, scale.rounds)
        one = _measured(Load(sink.port, scale.smtp, 1), room, scale.rounds)
    cpu = {name: median(each.cpu for each in found) for name, found in many.items()}
    gate = Gate("≤ 1/4", most=1 / 4)
    yield Row("SMTP, CPU a message", seconds, cpu["ours"], COMPOSING, cpu.get(COMPOSING), gate)
    for beside in PEERS[:2]:
        yield Row("  beside", seconds, cpu["ours"], beside, cpu.get(beside))
    yield from speeds(f"SMTP, {CONNECTIONS} connections", many)
    yield from speeds("SMTP, one connection", one)


def speeds(what: str, found: dict[str, list[Spent]], gate: Gate | None = None) -> Iterator[Row]:
    """A row for each peer, the quickest first; the gate is held against the quickest of :data:`GATED`."""
    speed = {name: median(1 / each.wall for each in figures) for name, figures in found.items()}
    by_speed = sorted(PEERS, key=lambda peer: -speed.get(peer, 0.0))
    held = next(peer for peer in by_speed if peer in GATED)
    for place, peer in enumerate(by_speed):
        name = "  beside" if place else what
        yield Row(name, rate, speed["ours"], peer, speed.get(peer), gate if peer == held else None)


def _measured(load: Load, room: Path, rounds: int) -> dict[str, list[Spent]]:
    found = ways(load, room)
    return alternate({name: spent(way, load.count) for name, way in found.items()}, rounds)


def ways(load: Load, room: Path) -> dict[str, Callable[[], float | None]]:
    """Everyone who is here, by name, with the same message."""
    from flask_outbox.mail.mime import compose

    content = compose(sealed(draft(messages.HTML)))
    crlf, lf = room / "message.eml", room / "message"
    crlf.write_bytes(content)
    lf.write_bytes(content.replace(b"\r\n", b"\n"))
    found: dict[str, Callable[[], float | None]] = {"ours": lambda: smtp_ways.ours(load)}
    if installed("aiosmtplib"):
        found["aiosmtplib"] = lambda: smtp_ways.with_aiosmtplib(load, content)
        parsed = message_from_bytes(content, policy=policy.SMTP)
        found[COMPOSING] = lambda: smtp_ways.with_aiosmtplib(load, parsed)
    found["smtplib"] = lambda: smtp_ways.with_smtplib(load, content)
    if installed("bin:node", "node:nodemailer"):
        found["nodemailer"] = lambda: smtp_ways.with_nodemailer(load, crlf)
    if installed("bin:smtp-source"):
        found["smtp-source"] = lambda: smtp_ways.with_smtp_source(load, lf)
    return found
