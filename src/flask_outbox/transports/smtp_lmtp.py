"""LMTP (RFC 2033) where it differs from SMTP."""

from __future__ import annotations

from .smtp_protocol import LONE_DOT, C, Reply, SmtpProtocol
from .smtp_states import Command, State


class LmtpProtocol(SmtpProtocol):
    """LMTP (RFC 2033): a content has as many replies as recipients were accepted, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self._accepted = 0

    @property
    def verdicts(self) -> int:
        return self._accepted

    def content(self, content: C) -> tuple[C, bytes]:
        self._register_content(*[Command.VERDICT] * self._accepted)
        return content, LONE_DOT

    def _reply(self, code: int) -> Reply:
        reply = super()._reply(code)
        if reply.command is Command.MAIL:
            self._accepted = 0
        elif reply.command is Command.RCPT and code < 300:
            self._accepted += 1
        elif reply.command is Command.DATA and self.state is State.DATA and not self._accepted:
            # RFC 2033 §4.2 forbids it, and no reply would ever follow.
            raise self._error("354 although no recipient was accepted")
        return reply
