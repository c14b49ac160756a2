"""A look at a server: it is opened as a worker opens it, and left again. No letter is sent."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ..rules.outcomes import Outcome
from .smtp_lmtp import LmtpProtocol
from .smtp_opening import Opener
from .smtp_protocol import SmtpProtocol
from .smtp_settings import SmtpSettings
from .smtp_states import Command
from .smtp_wire import Broken, HandshakeFailed, Wire, lost

#: Seconds to wait for anything: a person is waiting.
_PATIENCE = 15.0
_QUIT = 3.0


@dataclass(frozen=True, slots=True)
class Probe:
    """How far it went.

    :param addresses: what the server's name stands for.
    :param reached: whether somebody took the connection.
    :param capabilities: what was announced last.
    :param tls: the version of TLS, or "".
    :param expires: when the certificate ends, Unix seconds; None where it is not verified.
    :param failure: why no letter could be sent, if none could.
    """

    addresses: tuple[str, ...] = ()
    reached: bool = False
    capabilities: Mapping[str, str] = field(default_factory=dict)
    tls: str = ""
    expires: float | None = None
    failure: Outcome | None = None


async def probe(settings: SmtpSettings) -> Probe:
    """Open a session, log in where a login is set, and take leave."""
    settings = replace(settings, timeout=settings.patience(_PATIENCE))
    addresses = await _addresses(settings)
    opener = Opener(settings, time.monotonic)
    wire, failure = _wire(settings), None
    try:
        try:
            await opener.open(wire)
        except HandshakeFailed as handshake:
            if not opener.may_do_without_tls:
                raise
            wire = _wire(settings)
            await opener.open_without_tls(wire, handshake)
    except Broken as broken:
        failure = broken.outcome
    found = Probe(
        addresses,
        wire.connected,
        wire.protocol.capabilities,
        *_encryption(wire.encryption),
        failure,
    )
    await _leave(wire)
    return found


def _wire(settings: SmtpSettings) -> Wire:
    protocol = LmtpProtocol() if settings.lmtp else SmtpProtocol()
    return Wire(protocol, on_verdict=lambda reply: None)


async def _addresses(settings: SmtpSettings) -> tuple[str, ...]:
    """None where the name is unknown: the failure to connect says so."""
    if settings.socket:
        return ()
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def _encryption(tls: ssl.SSLObject | None) -> tuple[str, float | None]:
    if tls is None:
        return "", None
    certificate = tls.getpeercert()  # empty where it is not verified
    ends = str(certificate["notAfter"]) if certificate else None
    return tls.version() or "TLS", (ends and ssl.cert_time_to_seconds(ends)) or None


async def _leave(wire: Wire) -> None:
    with suppress(Broken):
        if wire.protocol.may(Command.QUIT):
            wire.write(wire.speaking.send(Command.QUIT))
            await wire.answer(_QUIT)
    wire.abort(lost("the look is over"))
