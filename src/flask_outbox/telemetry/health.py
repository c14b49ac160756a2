"""How a worker fares, and the file that shows it.

Healthy is a worker that goes round and reaches its ledger. A paused transport or mail that is overdue is shown, but
does not count: no restart would mend it, and ``flask mail status --check`` raises the alarm.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

logger = logging.getLogger("flask_outbox")

#: Seconds after which a worker that has not gone round counts as stuck. A locked outbox may stop it for ten.
STUCK = 30.0

#: What a worker is doing.
STARTING, DRAINING, STANDING_BY, ENDING = "starting", "draining", "standing by", "ending"


@dataclass(frozen=True, slots=True)
class Health:
    """How a worker fares at one moment.

    :param state: ``"starting"``, ``"draining"``, ``"standing by"`` or ``"ending"``.
    :param tick: seconds since it last went round.
    :param ledger: why the ledger cannot be read; "" when it can.
    :param oldest_due: since when the longest waiting message is due, or None if none is.
    :param paused: the reasons, by transport.
    :param processes: of a supervisor: how each of its processes fares.
    """

    state: str
    pid: int
    time: float
    tick: float
    ledger: str = ""
    oldest_due: float | None = None
    paused: Mapping[str, str] = field(default_factory=dict)
    processes: tuple[Health, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether it does something; once told to end, a worker goes round no more."""
        return self.state == ENDING or self.tick < STUCK

    @property
    def healthy(self) -> bool:
        """Whether all is well with it, as far as a restart could help."""
        return self.alive and not self.ledger

    def __str__(self) -> str:
        if self.ledger:
            return f"The outbox cannot be read: {self.ledger}"
        if not self.alive:
            return f"Stuck for {self.tick:.0f} s."
        paused = f" Paused: {', '.join(self.paused)}." if self.paused else ""
        return f"{self.state.capitalize()}.{paused}"

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps({"healthy": self.healthy, **asdict(self)})

    @classmethod
    def from_json(cls, line: bytes, *, age: float) -> Health:
        """What a process of the same version wrote about itself.

        :param age: seconds since it was written.
        """
        values = json.loads(line)
        del values["healthy"], values["processes"]
        health = cls(**values)
        return replace(health, tick=health.tick + age)


def of_all(processes: Sequence[Health], pid: int, now: float) -> Health:
    """How a supervisor fares: as the best of its processes, because it replaces the others itself.

    Only where one of them cannot read the ledger, that is told: it is the same for all.
    """
    states = [process.state for process in processes]
    newest = max(processes, key=lambda process: process.time)
    return Health(
        next(state for state in (DRAINING, STANDING_BY, STARTING, ENDING) if state in states),
        pid,
        now,
        min(process.tick for process in processes),
        next((process.ledger for process in processes if process.ledger), ""),
        newest.oldest_due,
        newest.paused,
        tuple(processes),
    )


class HealthFile:
    """A file whose age tells: it is renewed while the worker is healthy, and removed when it ends.

    What it holds tells more: it is written in any case, but what is not healthy does not make it younger.

    :raises OSError: it cannot be written.
    """

    def __init__(self, path: Path, starting: Health) -> None:
        self._path = path
        self._healthy_at = starting.time
        self._complained = False
        self._write(starting)

    def see(self, health: Health) -> None:
        """Show how the worker fares."""
        if health.healthy:
            self._healthy_at = health.time
        try:
            self._write(health)
        except OSError as error:
            if not self._complained:
                logger.error("the health file %s cannot be written: %s", self._path, error.strerror)
            self._complained = True
        else:
            self._complained = False

    def close(self) -> None:
        """The worker has ended."""
        self._path.unlink(missing_ok=True)

    def _write(self, health: Health) -> None:
        # Renamed into its place, so that nobody reads half of it and nothing is written through a link.
        descriptor, name = tempfile.mkstemp(prefix=f".{self._path.name}-", dir=self._path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(health.to_json() + "\n")
            os.utime(name, (self._healthy_at, self._healthy_at))
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
