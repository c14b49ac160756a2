"""``flask mail worker``, which sends what others have stored."""

from __future__ import annotations

import json
import os
import signal
import sys
from itertools import count
from pathlib import Path

from journeys.accounting import AccountingServer
from servers.process import Process, wait_until
from ways.runner import Gate, Runner
from ways.table import Way

#: Of one connection, and of results that may await their commit.
REPEATED_BY_A_KILL = 1 + 20

#: Seconds for a process that starts others, on a machine that has much else to do.
PATIENCE = 90.0


class Service(Runner):
    """A worker, started at its first use, and again after its end."""

    def __init__(self, way: Way, folder: Path, server: AccountingServer) -> None:
        super().__init__(way, folder, server)
        self._process: Process | None = None
        self._numbers = count()

    def sends(self) -> None:
        """What is stored while it runs arrives."""
        self.running()
        self.store(3)
        self.wait_for_all()

    def drains(self) -> None:
        """What it is sending at the end is finished and written down."""
        repeated = self.server.duplicates
        process = self.running()
        gate = Gate(self.server)
        self.store(5)
        gate.wait()
        process.signal(signal.SIGTERM)
        gate.open()
        assert process.wait() == 0
        self.close()
        self.check_written_down(repeated)
        assert self.sent <= self.states().keys()

    def survives(self) -> None:
        """Killed between a content and its reply, it goes on when it is started again."""
        self.running()
        gate = Gate(self.server)
        self.store(5)
        gate.wait()
        self.close()
        gate.open()
        self.running()
        self.wait_for_all()
        assert self.server.duplicates <= REPEATED_BY_A_KILL
        assert all(len(set(copies)) == 1 for copies in self.server.copies.values())

    # -- the worker --------------------------------------------------------------------------------------------

    def store(self, letters: int) -> None:
        """Store so many letters, as an application does."""
        self.sent |= self.deployment.put(*(next(self._numbers) for _ in range(letters)))

    def running(self) -> Process:
        """The worker, started where none runs."""
        if self._process is None:
            self._process = Process(
                [sys.executable, "-m", *self.way.command.format(folder=self.folder).split()],
                log=self.folder / "worker.log",
                env=self.env,
                cwd=self.folder,
            )
        self._process.check_alive()
        return self._process

    def close(self) -> None:
        """Kill what runs of it."""
        if self._process is not None:
            self._process.kill()
            self._process = None


class Supervised(Service):
    """A parent with workers, which shows their health in a file."""

    def running(self) -> Process:
        """The parent, one of whose workers drains."""
        starts = self._process is None
        process = super().running()
        if starts:
            self.drainer()
        return process

    def restarts(self) -> None:
        """The process that drains is killed; another one goes on."""
        self.running()
        killed = self.drainer()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: self.drainer() != killed, "another drainer", PATIENCE)
        self.store(1)
        self.wait_for_all()

    def drainer(self) -> int:
        """The process that drains, as soon as one does."""
        health = self.folder / "health"
        found: list[int] = []

        def shown() -> bool:
            processes = json.loads(health.read_text())["processes"] if health.exists() else []
            found[:] = [one["pid"] for one in processes if one["state"] == "draining"]
            return bool(found)

        wait_until(shown, "a drainer", PATIENCE)
        return found[0]


class Once(Service):
    """A worker that ends when nothing is due."""

    def sends(self) -> None:
        """What is stored before it runs arrives before it ends."""
        self.store(3)
        self.finish()
        assert self.sent <= {message_id[1:33] for message_id in self.server.copies}

    def drains(self) -> None:
        """When it ends, everything is written down."""
        repeated = self.server.duplicates
        self.store(3)
        self.finish()
        self.check_written_down(repeated)

    def survives(self) -> None:
        """Killed between a content and its reply, it leaves the rest to the next one."""
        gate = Gate(self.server)
        self.store(5)
        self.running()
        gate.wait()
        self.close()
        gate.open()
        self.finish()
        self.wait_for_all()
        assert self.server.duplicates <= REPEATED_BY_A_KILL

    def finish(self) -> None:
        """Let it run to its end."""
        assert self.running().wait() == 0
        self.close()
