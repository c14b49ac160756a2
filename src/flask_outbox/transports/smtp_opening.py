"""How a session is opened: connection, greeting, EHLO, STARTTLS, AUTH. Each failure says whose it is."""

from __future__ import annotations

from ..rules.outcomes import Kind, Outcome, Scope
from ..rules.replies import Step
from .smtp_login import Login
from .smtp_protocol import Reply
from .smtp_settings import SmtpSettings
from .smtp_states import Command
from .smtp_wire import Broken, Wire, own_name

_CONNECT = 10.0
_HANDSHAKE = 60.0

#: Seconds for the greeting, and for any reply that RFC 5321 §4.5.3.2 does not mention.
_REPLY = 300.0


class Opener:
    """Opens the sessions of one transport. Building it reads certificates."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings
        self._context = settings.context()
        self._login = Login(settings)

    async def open(self, wire: Wire, *, tls: bool = True) -> None:
        """Bring a new wire to where letters can be sent.

        :param tls: False for a second try after :class:`HandshakeFailed`, where TLS is opportunistic.
        :raises Broken: it cannot be; the outcome says why.
        """
        settings = self._settings
        await wire.connect(settings, settings.patience(_CONNECT))
        if settings.tls == "implicit":
            await self._encrypt(wire)
        _expect(Step.GREETING, await wire.answer(settings.patience(_REPLY)))
        await self._hello(wire)
        if tls and settings.tls in ("required", "opportunistic"):
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
        wire.write(wire.protocol.send(command, argument))
        return await wire.answer(self._settings.patience(_REPLY))

    # -- TLS ---------------------------------------------------------------------------------

    async def _upgrade(self, wire: Wire) -> None:
        """STARTTLS, and everything anew."""
        settings = self._settings
        required = settings.tls == "required"
        if "STARTTLS" not in wire.protocol.capabilities:
            if required:
                text = f"{settings.name}: offers no STARTTLS, which MAIL_USE_TLS demands"
                raise Broken(Outcome(Kind.REFUSED, Scope.TRANSPORT, text=text))
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
