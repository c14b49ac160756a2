"""What the keywords of a send ask for, checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from math import inf
from typing import TYPE_CHECKING

from .errors import MessageError
from .mail.letter import Terms
from .mail.strings import plain_text

if TYPE_CHECKING:
    from ._desk_contract import SendOptions

PRIORITIES = {"high": 0, "normal": 1, "low": 2}
GUARANTEES = ("at_least_once", "at_most_once")


def terms_of(now: float, options: SendOptions, own_priority: str | None) -> Terms:
    """How a letter is to be delivered.

    :param own_priority: of the message, where the options name none.
    :raises MessageError: one of them is wrong; ``field`` names it.
    """
    priority = options.priority or own_priority or "normal"
    if priority not in PRIORITIES:
        raise MessageError(
            f"priority={priority!r} must be one of: high, normal, low.", field="priority"
        )
    if options.guarantee not in GUARANTEES:
        raise MessageError(
            f"guarantee={options.guarantee!r} must be at_least_once or at_most_once.",
            field="guarantee",
        )
    if options.delay is not None and options.at is not None:
        raise MessageError("'delay' and 'at' cannot both be given.", field="at")
    key = None if options.key is None else plain_text(options.key, "key")
    if key == "":
        raise MessageError("'key' must not be empty: leave it out, or name this send.", field="key")
    return Terms(
        priority=PRIORITIES[priority],
        due=_moment(options.delay, now, "delay") or _moment(options.at, now, "at"),
        expires=_moment(options.expires, now, "expires"),
        guarantee=options.guarantee,
        key=key,
        hold=_reason(options),
    )


def _reason(options: SendOptions) -> str:
    """Why it is held from the beginning, or ""."""
    if not isinstance(options.hold, (bool, str)):
        raise MessageError("'hold' must be True, or a text that says why.", field="hold")
    return (
        plain_text(options.hold, "hold")
        if isinstance(options.hold, str)
        else "by hand" * options.hold
    )


def retry_delays_of(given: Sequence[float | timedelta]) -> tuple[float, ...]:
    """The seconds before each further try.

    :raises MessageError: they are something else.
    """
    wrong = "'retry_delays' must be a list of seconds or timedeltas, each 0 or more: [30, timedelta(minutes=5)]."
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise MessageError(wrong, field="retry_delays")
    delays = tuple(one.total_seconds() if isinstance(one, timedelta) else one for one in given)
    if not all(isinstance(one, (int, float)) and 0 <= one < inf for one in delays):
        raise MessageError(wrong, field="retry_delays")
    return tuple(map(float, delays))


def _moment(when: datetime | timedelta | None, now: float, field: str) -> float | None:
    if when is None:
        return None
    if isinstance(when, timedelta):
        return now + when.total_seconds()
    if not isinstance(when, datetime):
        raise MessageError(
            f"{field!r} must be a timedelta, like timedelta(minutes=5), or a datetime with a time zone.",
            field=field,
        )
    if when.tzinfo is None:
        raise MessageError(
            f"'{field}' needs a time zone: datetime.now(timezone.utc) + …, or a timedelta.",
            field=field,
        )
    return when.timestamp()
