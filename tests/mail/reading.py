"""Composed messages as a parser reads them."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as policy


def parse(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=policy)


def with_crlf(text: str) -> str:
    return re.sub("\r\n?|\n", "\r\n", text)


def assert_legal(content: bytes) -> None:
    """CRLF and nothing like it, no line over the limit, a line end at the end, no defect for the parser."""
    assert content.endswith(b"\r\n")
    for line in content[:-2].split(b"\r\n"):
        assert len(line) <= 998
        assert b"\r" not in line
        assert b"\n" not in line
        assert b"\0" not in line
    for part in parse(content).walk():
        assert part.defects == []
