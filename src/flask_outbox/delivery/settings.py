"""What is set about a worker."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker behaves.

    :param rate: letters a second it starts at most, or None for no cap (``MAIL_WORKER_RATE``).
    :param drain_timeout: seconds that it waits for what is being sent when told to stop (``MAIL_DRAIN_TIMEOUT``).
    :param lease: seconds for which a claim is ours; extended every ``heartbeat`` seconds.
    :param poll: seconds between two looks when nobody rings.
    """

    rate: float | None = None
    drain_timeout: float = 10.0
    lease: float = 30.0
    heartbeat: float = 10.0
    poll: float = 1.0

    def __post_init__(self) -> None:
        if self.rate is not None and self.rate <= 0:
            raise ConfigurationError(
                "'MAIL_WORKER_RATE' must be a number above 0, or None for no cap."
            )
        if self.drain_timeout < 0:
            raise ConfigurationError("'MAIL_DRAIN_TIMEOUT' must be a number of seconds, 0 or more.")
