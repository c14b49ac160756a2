"""The servers at the other end: smtp-sink for mail, Redis for Celery. Started and watched as the tests do it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.process import Process, free_port
from servers.redis import Redis

#: Where files must be on a real disk: syncing a file in memory costs nothing.
DISK = Path("/var/tmp") if Path("/var/tmp").is_dir() else Path(tempfile.gettempdir())


@contextmanager
def folder() -> Iterator[Path]:
    """A folder on disk, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="flask-outbox-bench-", dir=DISK) as name:
        yield Path(name)


class Sink:
    """An smtp-sink that throws everything away and counts it.

    :param counting: whether :meth:`count` is wanted; it costs the server a write per message.
    """

    def __init__(self, room: Path, *, counting: bool = False) -> None:
        self.port = free_port()
        self._log = room / f"smtp-sink-{self.port}.log"
        options = ("-c",) if counting else ()
        account = ("-u", "nobody") if os.geteuid() == 0 else ()
        self._process = Process(
            ["smtp-sink", *account, *options, f"127.0.0.1:{self.port}", "1000"],
            ports=[self.port],
            log=self._log,
        )

    def count(self) -> int:
        """How many messages it has taken."""
        self._process.check_alive()
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - 200))
            found = re.findall(rb"mesg=(\d+)", log.read())
        return int(found[-1]) if found else 0

    def expect(self, count: int) -> None:
        """:raises RuntimeError: it was given more or fewer."""
        if self.count() != count:
            raise RuntimeError(f"smtp-sink has taken {self.count()} messages, not {count}.")

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()


@contextmanager
def redis(room: Path) -> Iterator[str]:
    """A Redis that is as durable as the outbox: what was accepted has been synced. Yields its URL."""
    with Redis(durable=True, where=room) as server:
        yield server.url
