"""How values stand in rows."""

from __future__ import annotations

import json
from collections.abc import Iterable

Row = dict[str, object]

#: Rows as the one JSON document that a statement takes.
document = json.JSONEncoder(separators=(",", ":")).encode


def rows_of(ids: Iterable[str]) -> str:
    """Ids as such a document."""
    return document([{"id": id} for id in ids])


def millis(moment: float) -> int:
    """A moment in Unix seconds as the tables hold it."""
    return int(moment * 1000)


def seconds(stored: int) -> float:
    """A moment of the tables in Unix seconds."""
    return stored / 1000


def clip(text: str, length: int) -> str:
    """Text from outside, so that every database takes it: no NUL, no half characters, not too long."""
    if text.isascii() and "\0" not in text:
        return text[:length]
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:length]
