"""What an examination finds: a line each, with what to do where something is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :param subject: what was looked at, in a word.
    :param text: what was found; never a secret.
    :param cure: what to do about it, or "".
    """

    subject: str
    level: Level
    text: str
    cure: str = ""

    def __str__(self) -> str:
        level = "FAILED" if self.level is Level.FAILED else self.level
        return f"{level:7}  {self.subject}: {self.text}{' ' if self.cure else ''}{self.cure}"


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(subject, Level.OK, text)


def warning(subject: str, text: str, cure: str = "") -> Finding:
    """It works, and may not for long, or not as it is meant."""
    return Finding(subject, Level.WARNING, text, cure)


def failed(subject: str, text: str, cure: str = "") -> Finding:
    """It does not work."""
    return Finding(subject, Level.FAILED, text, cure)


def worst(findings: Iterable[Finding]) -> Level:
    """The level of the worst."""
    order = list(Level)
    return max((one.level for one in findings), key=order.index, default=Level.OK)
