"""The one place that starts a child process: it waits for its port, checks that it lives, and kills it at the end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

#: How long anything may take before the test fails with the reason. Generous: shared machines stall.
DEADLINE = 30.0


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str, deadline: float = DEADLINE) -> None:
    """Return as soon as the condition holds.

    :param what: what is waited for; the text of the error when it does not come.
    """
    end = time.monotonic() + deadline
    pause = threading.Event()
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"No {what} within {deadline:g} s.")
        pause.wait(0.01)


class Process:
    """A child with a session of its own, so that what it starts ends with it.

    :param command: program and arguments; the program is a path or a name on PATH.
    :param ports: the ports of 127.0.0.1 it is going to listen on.
    :param log: the file that gets its output; quoted when it dies too early.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        ports: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        self._ports = ports
        self._name = Path(command[0]).name
        # Kill -9 of the test run must not leave a server behind; where util-linux is missing, nothing is lost.
        tied = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [*tied, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        try:
            for port in ports:
                wait_until(partial(self._listens, port), f"{self._name} on port {port}")
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def ended(self) -> int | None:
        """Its exit code, if it has; negative where a signal ended it."""
        return self._child.poll()

    def check_alive(self) -> None:
        """:raises RuntimeError: it has ended; the text quotes the end of its log."""
        if (code := self.ended) is not None:
            last = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self._name} ended with {code}:\n{last}")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._child.send_signal(number)

    def wait(self) -> int:
        """Wait for it to end by itself; its exit code, negative where a signal ended it."""
        return self._child.wait(DEADLINE)

    def stop(self) -> None:
        """Ask it to end (SIGTERM) and wait; what remains of its session is killed."""
        self._child.terminate()
        try:
            self._child.wait(DEADLINE)
        finally:
            self.kill()

    def interrupt(self) -> None:
        """Ask it to end (SIGINT) and wait; what remains of its session is killed."""
        self._child.send_signal(signal.SIGINT)
        try:
            self._child.wait(DEADLINE)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill -9 the child and everything it started, and wait until its ports are free."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._child.wait(DEADLINE)
        # What it had started is not ours to wait for; the end of it shows here.
        for port in self._ports:
            wait_until(partial(_refuses, port), f"end of {self._name} on port {port}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _listens(self, port: int) -> bool:
        self.check_alive()
        return _answers(port)


def _refuses(port: int) -> bool:
    return not _answers(port)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
