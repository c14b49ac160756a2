"""What was said on an SMTP connection, line by line, for ``MAIL_DEBUG``: never a secret, never a content."""

from __future__ import annotations

import logging

from .smtp_protocol import LONE_DOT, Reply
from .smtp_states import Command, State

#: At DEBUG each command and reply is logged.
transcript = logging.getLogger("flask_outbox.smtp")

_SECRET = (Command.AUTH, Command.RESPONSE)


def log_sent(state: State, chunks: tuple[bytes, ...]) -> None:
    """Log what is about to be written.

    :param state: of the conversation, before it.
    """
    for chunk in chunks:
        if chunk == LONE_DOT or chunk.endswith(b"\r\n.\r\n"):
            transcript.debug("send: a content of %d bytes", len(chunk))
        elif state is State.CHALLENGED:
            transcript.debug("send: ***")
        else:
            for line in chunk.decode("utf-8", "replace").splitlines():
                shown = " ".join([*line.split()[:2], "***"]) if line.startswith("AUTH ") else line
                transcript.debug("send: %s", shown)


def log_heard(reply: Reply) -> None:
    """Log a reply. The text of one to a login is left out, because servers quote what they do not understand."""
    lines = (b"***",) if reply.command in _SECRET else reply.lines
    for line in lines:
        transcript.debug("reply: %d %s", reply.code, line.decode("utf-8", "replace"))
