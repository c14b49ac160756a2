"""How a session is opened: connection, greeting, EHLO, STARTTLS, AUTH. Each failure says whose it is."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..rules.outcomes import Kind, Outcome, Scope
from ..rules.replies import Step
from .smtp_login import Login
from .smtp_protocol import Reply
from .smtp_settings import SmtpSettings
from .smtp_states import Command
from .smtp_wire import Broken, HandshakeFailed, Wire, own_name

logger = logging.getLogger("flask_outbox")

_CONNECT = 10.0
_HANDSHAKE = 60.0

#: Seconds for the greeting, and for any reply that RFC 5321 §4.5.3.2 does not mention.
_REPLY = 300.0

#: Seconds for which a server whose TLS is broken is not asked for it again, where it is opportunistic.
_WITHOUT_TLS = 3_600.0


class Opener:
    """Opens the sessions of one transport. Building it reads certificates.

    :param clock: seconds.
    """

    def __init__(self, settings: SmtpSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._without_tls_until = clock()
        self._context = settings.context()
        self._login = Login(settings)

    async def open(self, wire: Wire) -> None:
        """Bring a new wire to where letters can be sent.

        :raises HandshakeFailed: TLS did not come about; see :meth:`open_without_tls`.
        :raises Broken: it cannot be; the outcome says why.
        """
        tls = self._settings.tls
        opportunistic = tls == "opportunistic" and self._clock() >= self._without_tls_until
        await self._open(wire, upgrade=tls == "required" or opportunistic)

    async def open_without_tls(self, wire: Wire, failure: HandshakeFailed) -> None:
        """The second try where TLS is opportunistic. If that is all it takes, the next ones do without from the start.

        :raises Broken: as :meth:`open`.
        """
        await self._open(wire, upgrade=False)
        if self._clock() >= self._without_tls_until:
            self._without_tls_until = self._clock() + _WITHOUT_TLS
            text = "%s. For an hour letters go there without TLS, which nobody demanded; MAIL_USE_TLS would."
            logger.warning(text, failure.outcome.text)

    async def _open(self, wire: Wire, *, upgrade: bool) -> None:
        settings = self._settings
        await wire.connect(settings, settings.patience(_CONNECT))
        if settings.tls == "implicit":
            await self._encrypt(wire)
        _expect(Step.GREETING, await wire.answer(settings.patience(_REPLY)))
        await self._hello(wire)
        if upgrade:
            await self._upgrade(wire)
        if settings.wants_login:
            await self._login.log_in(wire)

    @property
    def may_do_without_tls(self) -> bool:
        """Whether a failed handshake is no reason to give up: RFC 7435 §3."""
        return self._settings.tls == "opportunistic"

    async def _hello(self, wire: Wire) -> None:
        settings = self._settings
        name = settings.local_hostname or own_name() or wire.local_address
        if settings.lmtp:
            _expect(Step.HELLO, await self._ask(wire, Command.LHLO, name))
            return
        reply = await self._ask(wire, Command.EHLO, name)
        # RFC 5321 §3.2: an old server knows only HELO, and announces nothing.
        if reply.code >= 500:
            reply = await self._ask(wire, Command.HELO, name)
        _expect(Step.HELLO, reply)

    async def _ask(self, wire: Wire, command: Command, argument: str = "") -> Reply:
        wire.write(wire.speaking.send(command, argument))
        return await wire.answer(self._settings.patience(_REPLY))

    # -- TLS ---------------------------------------------------------------------------------

    async def _upgrade(self, wire: Wire) -> None:
        """STARTTLS, and everything anew."""
        settings = self._settings
        required = settings.tls == "required"
        if "STARTTLS" not in wire.protocol.capabilities:
            if required:
                text = f"{settings.name}: offers no STARTTLS, which MAIL_USE_TLS demands"
                cause = "SMTPNotSupportedError"
                raise Broken(Outcome(Kind.REFUSED, Scope.TRANSPORT, text=text, cause=cause))
            return
        reply = await self._ask(wire, Command.STARTTLS)
        if reply.code >= 400 and not required:
            return
        _expect(Step.STARTTLS, reply)
        await self._encrypt(wire)
        wire.protocol.secured()
        await self._hello(wire)

    async def _encrypt(self, wire: Wire) -> None:
        if self._context is None:
            raise RuntimeError("TLS is wanted and there is no context for it")
        settings = self._settings
        await wire.start_tls(self._context, settings.host, settings.patience(_HANDSHAKE))


def _expect(step: Step, reply: Reply) -> None:
    """:raises Broken: the reply is a refusal."""
    if reply.code >= 400:
        raise Broken(reply.meaning(step))
