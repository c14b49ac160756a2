"""Web servers: all of them run the same application, and are asked the same things."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import urllib.request
from itertools import count
from pathlib import Path

from journeys.accounting import AccountingServer
from journeys.conftest import post
from servers.process import Process, free_port, wait_until
from ways.runner import Gate, Runner
from ways.table import Way

#: Of one connection, and of results that may await their commit.
REPEATED_BY_A_KILL = 1 + 20


class Web(Runner):
    """A web server, started at its first use, and again after its end."""

    def __init__(self, way: Way, folder: Path, server: AccountingServer) -> None:
        super().__init__(way, folder, server)
        self._process: Process | None = None
        self._url = ""
        self._numbers = count()

    def sends(self) -> None:
        """A view's letters arrive while the server runs."""
        self.post(3)
        self.wait_for_all()

    def drains(self) -> None:
        """What a worker is sending at the end is finished and written down; nothing is repeated, or lost."""
        repeated = self.server.duplicates
        process = self.running()
        gate = Gate(self.server)
        self.post(5)
        gate.wait()
        self.ask_to_end(process)
        gate.open()
        process.wait()
        self.close()
        self.check_written_down(repeated)
        assert self.sent <= self.states().keys()

    def survives(self) -> None:
        """Killed between a content and its reply, it goes on when it is started again."""
        process = self.running()
        gate = Gate(self.server)
        self.post(5)
        gate.wait()
        os.killpg(process.pid, signal.SIGKILL)
        gate.open()
        self.close()
        self.visit("/")
        self.wait_for_all()
        # Also for what is repeated, which has arrived once already.
        wait_until(lambda: set(self.states().values()) == {"sent"}, "end of the sending")
        assert self.server.duplicates <= REPEATED_BY_A_KILL
        assert all(len(set(copies)) == 1 for copies in self.server.copies.values())

    def restarts(self) -> None:
        """The child that a view forks can send, and so can the server's own next process."""
        self.post(1)
        self.wait_for_all()
        before = len(self.server.copies)
        answer = post(f"{self.running_url()}/fork?first={next(self._numbers)}")
        assert answer == {"ended": 0}, f"{answer}\n{self.log}"
        self.server.wait_for(before + 2)
        if self.way.respawns:
            self.replace_worker()
        self.post(1)
        self.wait_for_all()

    def replace_worker(self) -> None:
        """Kill the process that answers, in the middle of sending, and go on with the one that takes its place."""
        first = self.visit("/pid")
        gate = Gate(self.server)
        self.post(5)
        gate.wait()
        os.kill(int(first), signal.SIGKILL)
        gate.open()
        wait_until(lambda: self.answered_by_another_than(first), "another process")

    def answered_by_another_than(self, pid: str) -> bool:
        try:
            return self.visit("/pid") != pid
        except OSError:
            return False  # its connection was in the killed one's hands

    # -- the server --------------------------------------------------------------------------------------------

    def running(self) -> Process:
        """The server, started where none runs."""
        if self._process is None:
            port = free_port()
            command = self.way.command.format(port=port, app="ways.application:create_app()")
            words = shlex.split(command)
            self._process = Process(
                [Path(sys.executable).with_name(words[0]), *words[1:]],
                log=self.folder / "server.log",
                ports=[port],
                env=self.env,
                cwd=self.folder,
            )
            self._url = f"http://127.0.0.1:{port}"
        self._process.check_alive()
        return self._process

    @property
    def log(self) -> str:
        """The end of what the server has said."""
        return (self.folder / "server.log").read_text()[-3000:]

    def running_url(self) -> str:
        self.running()
        return self._url

    def ask_to_end(self, process: Process) -> None:
        """As a service manager does it; or a terminal, for what knows Ctrl-C alone."""
        asked = signal.Signals[self.way.stop]
        if asked == signal.SIGINT:
            os.killpg(process.pid, asked)
        else:
            process.signal(asked)

    def post(self, letters: int, view: str = "send") -> None:
        """Let a view send that many."""
        first = next(self._numbers)
        self.sent |= set(post(f"{self.running_url()}/{view}/{letters}?first={first}")["ids"])

    def visit(self, path: str) -> str:
        """The answer to a GET."""
        with urllib.request.urlopen(self.running_url() + path, timeout=30) as answer:
            text: str = answer.read().decode()
            return text

    def close(self) -> None:
        """Kill what runs of it."""
        if self._process is not None:
            self._process.kill()
            self._process = None
