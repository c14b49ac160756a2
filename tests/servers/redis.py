"""A Redis of the test run's own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import redis

from .housed import Housed
from .process import Process, free_port, wait_until


class Redis(Housed):
    """A running server on a port of 127.0.0.1; stopped or killed, it may be started again on the same folder.

    :param durable: what it has accepted is synced, and survives. Else all of it is lost with the process.
    :param where: the folder that its own is made in.
    """

    def __init__(self, *, durable: bool = False, where: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flask-outbox-redis-", dir=where))
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._kept = ["--appendonly", "yes", "--appendfsync", "always"] if durable else []
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def start(self) -> None:
        """Start it, also after :meth:`kill` and :meth:`stop`."""
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", self.folder]
        self._process = Process(
            ["redis-server", *place, "--save", "", *self._kept],
            log=self.folder / "log",
            ports=[self.port],
        )
        wait_until(self._answers, "Redis that has read what it had kept")

    def _answers(self) -> bool:
        self._process.check_alive()
        with redis.Redis(port=self.port) as client:
            try:
                return bool(client.ping())
            except redis.BusyLoadingError:
                return False

    def kill(self) -> None:
        """Kill -9 the server."""
        self._process.kill()

    def stop(self) -> None:
        """Stop it; whoever is connected is cut off."""
        self._process.stop()

    def flush(self) -> None:
        """Forget everything."""
        with redis.Redis(port=self.port) as client:
            client.flushall()
