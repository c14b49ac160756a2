"""The mail server's folder: what the server writes there, and the one thing that it reads.

``received/N.eml``, ``received/N.json``
    one accepted message, and beside it who sent it to whom and when.
``port``
    where the server listens.
``faults.json``
    how messages are to be treated: ``{"mode": "slow", "delay": 3}``; read again for each of them. With
    ``"until"``, in Unix seconds, all is well again from then on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from secrets import token_hex

#: The ways to treat a message, each with its name and what it means.
MODES = {
    "ok": ("Normal", "takes the mail at once"),
    "slow": ("Slow", "answers after a while"),
    "down": ("Down", "takes no connection"),
    "greylist": ("Greylist", "451 at first, then takes it"),
    "defer": ("Busy", "451, try again later"),
    "refuse": ("Refuse", "550, no such mailbox"),
    "drop": ("Hang up", "takes the mail, says nothing"),
}
MAX_DELAY = 60


@dataclass(frozen=True, slots=True)
class Faults:
    """How messages are treated.

    :param mode: a key of :data:`MODES`.
    :param delay: seconds before MAIL is answered, and so before anything of the message is there.
    :param until: when all is well again, in Unix seconds; None: when something else is asked for.
    """

    mode: str = "ok"
    delay: float = 0
    until: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in list(MODES):
            raise ValueError(f"'mode' must be one of {', '.join(MODES)}.")
        if not isinstance(self.delay, int | float) or not 0 <= self.delay <= MAX_DELAY:
            raise ValueError(f"'delay' must be a number of seconds from 0 to {MAX_DELAY}.")
        if not isinstance(self.until, int | float | None):
            raise ValueError("'until' must be a number of Unix seconds.")


@dataclass(frozen=True, slots=True)
class Received:
    """What is known of one accepted message besides its bytes.

    :param number: counts from 1, also over restarts.
    :param answered: False where the server hung up instead of saying that it has the mail.
    """

    number: int
    time: float
    client: str
    sender: str
    recipients: tuple[str, ...]
    message_id: str
    size: int
    answered: bool


@dataclass(frozen=True, slots=True)
class Spool:
    """Reads and writes the folder; each file is seen whole or not at all."""

    folder: Path

    def faults(self) -> Faults:
        """What is asked for now.

        :raises ValueError: the file cannot be understood; the text says why.
        """
        try:
            given = json.loads((self.folder / "faults.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Faults()
        if not isinstance(given, dict) or not given.keys() <= {"mode", "delay", "until"}:
            raise ValueError("It must be an object with 'mode', 'delay' and 'until'.")
        faults = Faults(**given)
        over = faults.until is not None and time.time() >= faults.until
        return Faults() if over else faults

    def set_faults(self, faults: Faults) -> None:
        _write(self.folder / "faults.json", json.dumps(asdict(faults)).encode())

    def port(self) -> int | None:
        """Where the server listens; None while it never has."""
        try:
            return int((self.folder / "port").read_text(encoding="ascii"))
        except FileNotFoundError:
            return None

    def set_port(self, port: int) -> None:
        _write(self.folder / "port", str(port).encode())

    def forget_port(self) -> None:
        (self.folder / "port").unlink(missing_ok=True)

    def numbers(self) -> list[int]:
        """The messages that are kept, newest first."""
        return sorted((int(p.stem) for p in self.folder.glob("received/*.json")), reverse=True)

    def received(self) -> Iterator[Received]:
        """What is known of the messages that are kept, newest first."""
        for number in self.numbers():
            try:
                yield _read(self._path(number, "json"))
            except FileNotFoundError:  # it was the oldest, and has just made room
                continue

    def content(self, number: int) -> bytes:
        """A message's bytes.

        :raises FileNotFoundError: it is no longer kept.
        """
        return self._path(number, "eml").read_bytes()

    def store(self, received: Received, content: bytes) -> None:
        """Keep a message. It counts as received once its JSON is there."""
        _write(self._path(received.number, "eml"), content)
        _write(self._path(received.number, "json"), json.dumps(asdict(received)).encode())

    def remove(self, number: int) -> None:
        for kind in ("json", "eml"):
            self._path(number, kind).unlink(missing_ok=True)

    def _path(self, number: int, kind: str) -> Path:
        return self.folder / "received" / f"{number:08d}.{kind}"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Its own name each time: two requests may write the same file at the same moment.
    part = path.with_name(f"{path.name}.{token_hex(4)}.part")
    part.write_bytes(data)
    part.replace(path)


@lru_cache(maxsize=1_000)
def _read(path: Path) -> Received:
    given = json.loads(path.read_text(encoding="utf-8"))
    return Received(**given | {"recipients": tuple(given["recipients"])})
