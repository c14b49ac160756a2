"""An SMTP protocol that has got as far as a test needs it."""

from __future__ import annotations

from flask_outbox.transports.smtp_protocol import Envelope, SmtpProtocol
from flask_outbox.transports.smtp_states import Command

GREETING = b"220 mail.example ESMTP\r\n"
EHLO = b"250-mail.example\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250 8BITMIME\r\n"
ENVELOPE = Envelope("me@example.org", ("a@example.net", "b@example.net"), size=100)


def hear(protocol: SmtpProtocol, data: bytes) -> list[tuple[str, int]]:
    return [(reply.command.name, reply.code) for reply in protocol.feed(data)]


def opened(*capabilities: str) -> SmtpProtocol:
    """A protocol after EHLO."""
    protocol = SmtpProtocol()
    hear(protocol, GREETING)
    protocol.send(Command.EHLO, "client.example")
    lines = ["mail.example", *capabilities]
    text = [f"250-{line}\r\n" for line in lines[:-1]] + [f"250 {lines[-1]}\r\n"]
    hear(protocol, "".join(text).encode())
    return protocol
