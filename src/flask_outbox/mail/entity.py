"""Content that comes ready-made: checked, so that it adds nothing to the header and can travel as it stands."""

from __future__ import annotations

import re

from ..errors import BadHeaderError, MessageError
from .message import Message

_FIELD = "entity"

# RFC 5322 2.1.1, without the CRLF.
_LINE_MAX = 998

_line_ends = re.compile(rb"\r\n?|\n")
_header = re.compile(rb"(?:(?i:content-)[!-9;-~]+:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+\r\n")


def seal_entity(message: Message, given: object) -> bytes:
    """The entity with CRLF at its line ends.

    :param given: the message's ``entity``.
    """
    if message.body or message.alts or message.attachments:
        raise _refusal("stands in place of body, html, alts and attachments; give either")
    if not isinstance(given, bytes | bytearray):
        raise _refusal(f"bytes are needed here, not {type(given).__name__}")
    content = _line_ends.sub(b"\r\n", given)
    if not content.isascii() or b"\0" in content:
        raise _refusal("holds 8-bit data; encode it in base64 or quoted-printable")
    if max(map(len, content.split(b"\r\n"))) > _LINE_MAX:
        raise _refusal(f"holds a line of more than {_LINE_MAX} characters; encode it in base64")
    if not _header.match(content):
        raise BadHeaderError(
            f"{_FIELD}: begins with a Content-Type header, holds no headers but Content-…, and an empty line "
            "after them; give the others as the message's fields.",
            field=_FIELD,
        )
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def _refusal(reason: str) -> MessageError:
    return MessageError(f"{_FIELD}: {reason}.", field=_FIELD)
