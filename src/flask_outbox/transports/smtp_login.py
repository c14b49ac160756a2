"""How a session is logged in: AUTH (RFC 4954) by a mechanism that both sides know, with a password or a token."""

from __future__ import annotations

import asyncio
import logging
import secrets
from base64 import b64encode
from contextlib import suppress
from dataclasses import replace

from ..rules.outcomes import Kind, Outcome, Scope
from ..rules.replies import Step, one_line
from .off_loop import off_loop
from .smtp_protocol import Reply
from .smtp_sasl import BEARER, MECHANISMS, Credentials, Exchange, SaslError
from .smtp_settings import SmtpSettings
from .smtp_states import Command
from .smtp_wire import Broken, Wire

logger = logging.getLogger("flask_outbox")

_REPLY = 300.0
_TOKEN = 30.0

#: RFC 4954 §6: the mechanism is not known, or is too weak for this user. Another one may do.
_OTHER_MECHANISM = (504, 534)


class Login:
    """Logs the sessions of one transport in."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings
        self._asking = asyncio.Lock()

    async def log_in(self, wire: Wire) -> None:
        """Log in by the first allowed mechanism that the server announced and does not turn away.

        :raises Broken: nobody is logged in.
        """
        announced = wire.protocol.capabilities.get("AUTH", "").upper().split()
        names = [name for name in self._settings.mechanisms if name in announced]
        failure: Outcome | None = self._nothing_common(announced)
        for name in names:
            failure = await self._try(wire, name)
            if failure is None or failure.code not in _OTHER_MECHANISM:
                break
        if failure is not None:
            raise Broken(failure)

    def _nothing_common(self, announced: list[str]) -> Outcome:
        settings = self._settings
        names = ", ".join(settings.mechanisms or settings.auth_mechanisms)
        text = f"{settings.name}: offers no AUTH by {names}, which MAIL_USERNAME needs"
        cause = "SMTPException" if announced else "SMTPNotSupportedError"
        return Outcome(Kind.REFUSED, Scope.ACCOUNT, text=text, cause=cause)

    async def _try(self, wire: Wire, mechanism: str) -> Outcome | None:
        """Log in by one mechanism; returns why not."""
        if mechanism not in BEARER:
            return await self._exchange(wire, mechanism, self._settings.password or "")
        token = await self._token()
        failure = await self._exchange(wire, mechanism, token)
        if failure is None or failure.kind is not Kind.REFUSED:
            return failure
        # It may have expired meanwhile, and who gave it have a younger one.
        younger = await self._token()
        if younger == token:
            return failure
        try:
            return await self._exchange(wire, mechanism, younger)
        except Broken:
            # The server hung up after the refusal. The next connection begins with the younger one.
            return replace(failure, kind=Kind.DEFERRED, scope=Scope.TRANSPORT)

    async def _exchange(self, wire: Wire, mechanism: str, secret: str) -> Outcome | None:
        settings = self._settings
        nonce = secrets.token_urlsafe(18)
        who = Credentials(settings.username or "", secret, nonce, settings.host, settings.port)
        exchange = MECHANISMS[mechanism](who)
        wire.write(wire.speaking.auth(mechanism, exchange))
        try:
            reply = await self._converse(wire, exchange)
        except SaslError as error:
            with suppress(Broken):  # what counts is why it is given up
                wire.write(wire.speaking.send(Command.CANCEL, "*"))
                await wire.answer(settings.patience(_REPLY))
            return self._mistrusted(str(error))
        except Broken:
            if not exchange.remark:
                raise
            # Refused, and hung up on before the reply that says so.
            text = one_line(f"{settings.name}: {exchange.remark}, and the server hung up")
            return Outcome(Kind.REFUSED, Scope.ACCOUNT, text=text, cause=Step.AUTH)
        if reply.code >= 400:
            return _refused(reply, exchange, wire.protocol.secrets)
        if not exchange.complete:
            return self._mistrusted(f"{mechanism}: the server proved nothing")
        return None

    async def _converse(self, wire: Wire, exchange: Exchange) -> Reply:
        """Answer challenges until there are no more.

        :raises SaslError: it is given up.
        """
        while (reply := await wire.answer(self._settings.patience(_REPLY))).code // 100 == 3:
            wire.write(wire.speaking.respond(await _response(exchange, reply)))
        return reply

    def _mistrusted(self, text: str) -> Outcome:
        """Nothing is said against the password; but whoever is there is not who knows it."""
        text = one_line(f"{self._settings.name}: {text}")
        return Outcome(Kind.REFUSED, Scope.TRANSPORT, text=text, cause=Step.AUTH)

    async def _token(self) -> str:
        """The token of OAuth; asked for by one connection at a time, so that the others find it in a cache.

        :raises Broken: there is none.
        """
        give = self._settings.token
        assert give is not None
        try:
            async with self._asking, asyncio.timeout(self._settings.patience(_TOKEN)):
                token = await off_loop("flask-outbox-token", give)
        except Exception as error:
            # The application's code: its error is not the server's, and may be gone at the next try.
            logger.exception("MAIL_OAUTH_TOKEN gave no token")
            text = f"MAIL_OAUTH_TOKEN gave no token: {type(error).__name__}, see the log"
            raise Broken(
                Outcome(Kind.DEFERRED, Scope.TRANSPORT, text=text, cause=Step.AUTH)
            ) from error
        if not (isinstance(token, str) and token.isascii() and token.isprintable() and token):
            text = "MAIL_OAUTH_TOKEN must give the token as text"
            raise Broken(Outcome(Kind.REFUSED, Scope.ACCOUNT, text=text, cause=Step.AUTH))
        return token


async def _response(exchange: Exchange, reply: Reply) -> bytes:
    """:raises SaslError: give up."""
    challenge = b"".join(reply.lines).decode("ascii", "replace")
    if exchange.slow:
        return await off_loop("flask-outbox-sasl", lambda: exchange.respond(challenge))
    return exchange.respond(challenge)


def _refused(reply: Reply, exchange: Exchange, said: list[str]) -> Outcome:
    """What a refusal means. A server that did not understand may quote what it was sent."""
    outcome = reply.meaning(Step.AUTH)
    text, word = outcome.text, exchange.who.secret
    for secret in filter(None, (*said, word, b64encode(word.encode()).decode())):
        text = text.replace(secret, "***")
    if exchange.remark:
        text = one_line(f"{text} ({exchange.remark})")
    return replace(outcome, text=text)
