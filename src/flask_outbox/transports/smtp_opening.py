"""How a session is opened: connection, greeting, EHLO, STARTTLS, AUTH. Each failure says whose it is."""

from __future__ import annotations

import ssl
from dataclasses import replace

from ..rules.outcomes import Kind, Outcome, Scope
from ..rules.replies import Step
from .smtp_protocol import Reply, sasl_responses
from .smtp_settings import SmtpSettings
from .smtp_states import Command
from .smtp_wire import Broken, Wire, own_name

_CONNECT = 10.0
_HANDSHAKE = 60.0

#: Seconds for the greeting, and for any reply that RFC 5321 §4.5.3.2 does not mention.
_REPLY = 300.0


async def open_session(wire: Wire, settings: SmtpSettings, context: ssl.SSLContext | None) -> None:
    """Bring a new wire to where letters can be sent.

    :param context: from the settings.
    :raises Broken: it cannot be; the outcome says why.
    """
    await wire.connect(settings.host, settings.port, settings.patience(_CONNECT))
    if settings.tls == "implicit":
        await _encrypt(wire, settings, context)
    _expect(Step.GREETING, await wire.answer(settings.patience(_REPLY)))
    await _hello(wire, settings)
    if settings.tls in ("required", "opportunistic"):
        await _upgrade(wire, settings, context)
    if settings.login is not None:
        await _log_in(wire, settings, *settings.login)


async def _hello(wire: Wire, settings: SmtpSettings) -> None:
    name = settings.local_hostname or own_name() or wire.local_address
    reply = await _ask(wire, settings, Command.EHLO, name)
    # RFC 5321 §3.2: an old server knows only HELO, and announces nothing.
    if reply.code >= 500:
        reply = await _ask(wire, settings, Command.HELO, name)
    _expect(Step.HELLO, reply)


async def _upgrade(wire: Wire, settings: SmtpSettings, context: ssl.SSLContext | None) -> None:
    """STARTTLS, and everything anew."""
    required = settings.tls == "required"
    if "STARTTLS" not in wire.protocol.capabilities:
        if required:
            text = f"{settings.host}: offers no STARTTLS, which MAIL_USE_TLS demands"
            raise Broken(Outcome(Kind.REFUSED, Scope.TRANSPORT, text=text))
        return
    reply = await _ask(wire, settings, Command.STARTTLS)
    if reply.code >= 400 and not required:
        return
    _expect(Step.STARTTLS, reply)
    await _encrypt(wire, settings, context)
    wire.protocol.secured()
    await _hello(wire, settings)


async def _encrypt(wire: Wire, settings: SmtpSettings, context: ssl.SSLContext | None) -> None:
    if context is None:
        raise RuntimeError("TLS is wanted and there is no context for it")
    await wire.start_tls(context, settings.host, settings.patience(_HANDSHAKE))


async def _log_in(wire: Wire, settings: SmtpSettings, username: str, password: str) -> None:
    """AUTH, by the first allowed mechanism that the server announced."""
    announced = wire.protocol.capabilities.get("AUTH", "").upper().split()
    mechanism = next((name for name in settings.auth_mechanisms if name in announced), None)
    if mechanism is None:
        names = ", ".join(settings.auth_mechanisms)
        text = f"{settings.host}: offers no AUTH by {names}, which MAIL_USERNAME needs"
        raise Broken(Outcome(Kind.REFUSED, Scope.ACCOUNT, text=text))
    patience = settings.patience(_REPLY)
    wire.write(wire.protocol.auth(mechanism, username, password))
    while (reply := await wire.answer(patience)).code < 400 and reply.code >= 300:
        wire.write(wire.protocol.respond())
    if reply.code >= 400:
        outcome = reply.meaning(Step.AUTH)
        text = outcome.text
        # A server that did not understand may quote what it was sent.
        for secret in (*sasl_responses(mechanism, username, password), password):
            text = text.replace(secret, "***")
        raise Broken(replace(outcome, text=text))


async def _ask(wire: Wire, settings: SmtpSettings, command: Command, argument: str = "") -> Reply:
    wire.write(wire.protocol.send(command, argument))
    return await wire.answer(settings.patience(_REPLY))


def _expect(step: Step, reply: Reply) -> None:
    """:raises Broken: the reply is a refusal."""
    if reply.code >= 400:
        raise Broken(reply.meaning(step))
