"""Retention: how long what is over is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import ConfigurationError
from .states import ENDED, State

DAY = 86_400.0

#: What is kept until someone deletes it.
EVER = float("inf")

#: Sweeps come in a tenth of the shortest time that something is kept, within these bounds.
_LEAST, _MOST = 60.0, 3_600.0


@dataclass(frozen=True, slots=True)
class Retention:
    """Seconds since the end of a message, by how it ended. What waits for a person is not over, and stays.

    :param messages: after which it goes, with its recipients and attempts (``MAIL_RETENTION``).
    :param bodies: after which its text and attachments go (``MAIL_RETENTION_BODY``).
    :param keys: since it was given, after which a key of ``mail.send`` is forgotten (``MAIL_RETENTION_KEY``).
    :param events: after which goes what was told of no message that is there, and a suppression since its end
        (``MAIL_RETENTION_EVENT``).
    """

    messages: Mapping[str, float] = field(
        default_factory=lambda: {
            State.SENT: 30 * DAY,
            State.CANCELLED: 30 * DAY,
            State.DEAD: 90 * DAY,
        }
    )
    bodies: Mapping[str, float] = field(default_factory=dict)
    keys: float = 90 * DAY
    events: float = 90 * DAY

    def __post_init__(self) -> None:
        for key, spans in (("MAIL_RETENTION", self.messages), ("MAIL_RETENTION_BODY", self.bodies)):
            if unknown := set(spans) - set(ENDED):
                raise ConfigurationError(
                    f"'{key}' has no state {min(unknown)!r}: a message is over when it is {', '.join(ENDED)}."
                )
            if any(span < 0 for span in spans.values()):
                raise ConfigurationError(f"'{key}' must be made of times of 0 or more.")
        for key, span in (("MAIL_RETENTION_KEY", self.keys), ("MAIL_RETENTION_EVENT", self.events)):
            if span < 0:
                raise ConfigurationError(f"'{key}' must be a time of 0 or more.")

    @property
    def shortest(self) -> float:
        """After how many seconds anything may go at the earliest."""
        return min((*self.messages.values(), *self.bodies.values()), default=EVER)

    @property
    def interval(self) -> float:
        """Seconds between two sweeps."""
        return min(_MOST, max(_LEAST, self.shortest / 10))

    def is_over(self, state: str, age: float) -> bool:
        """Whether a message goes that ended so, so long ago."""
        return age >= self.messages.get(state, EVER)

    def is_empty(self, state: str, age: float) -> bool:
        """Whether its text and attachments go."""
        return age >= self.bodies.get(state, EVER)
