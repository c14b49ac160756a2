"""What is set about a worker, and about what is kept in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import ConfigurationError
from ..rules.retention import Retention


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker behaves.

    :param rate: letters a second it starts at most, or None for no cap (``MAIL_WORKER_RATE``).
    :param drain_timeout: seconds that it waits for what is being sent when told to stop (``MAIL_DRAIN_TIMEOUT``).
    :param max_bytes: of letters that it has in hand at most; one letter it may always have (``MAIL_WORKER_MAX_BYTES``).
    :param lease: seconds for which a claim is ours; extended every ``heartbeat`` seconds.
    :param poll: seconds between two looks when nobody rings.
    :param retention: how long is kept what is over.
    :param settle: seconds that it works before it takes away for the first time what is over.
    """

    rate: float | None = None
    drain_timeout: float = 10.0
    max_bytes: int = 64_000_000
    lease: float = 30.0
    heartbeat: float = 10.0
    poll: float = 1.0
    retention: Retention = field(default_factory=Retention)
    settle: float = 60.0

    def __post_init__(self) -> None:
        if self.rate is not None and self.rate <= 0:
            raise ConfigurationError(
                "'MAIL_WORKER_RATE' must be a number above 0, or None for no cap."
            )
        if self.drain_timeout < 0:
            raise ConfigurationError("'MAIL_DRAIN_TIMEOUT' must be a number of seconds, 0 or more.")
        if self.max_bytes < 1:
            raise ConfigurationError("'MAIL_WORKER_MAX_BYTES' must be an integer of 1 or more.")


@dataclass(frozen=True, slots=True)
class BacklogSettings:
    """How much is kept in memory at most.

    :param letters: that wait or are being sent (``MAIL_BACKGROUND_LIMIT``).
    :param bytes: that they have together (``MAIL_BACKGROUND_MAX_BYTES``).
    """

    letters: int = 1_000
    bytes: int = 64_000_000

    def __post_init__(self) -> None:
        if self.letters < 1:
            raise ConfigurationError("'MAIL_BACKGROUND_LIMIT' must be an integer of 1 or more.")
        if self.bytes < 1:
            raise ConfigurationError("'MAIL_BACKGROUND_MAX_BYTES' must be an integer of 1 or more.")
