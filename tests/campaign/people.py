"""Those who take part: processes that are struck and followed by the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from servers.process import Process


class Worker:
    """``flask mail worker``, and the next one as soon as it was killed."""

    def __init__(self, name: str, folder: Path, env: Mapping[str, str]) -> None:
        self._log, self._env = folder / f"{name}.log", env
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "flask", "mail", "worker"]
        self._process = Process(command, log=self._log, env=self._env)

    def kill(self) -> None:
        """Kill -9, where that has not been done.

        :raises RuntimeError: it had ended by itself.
        """
        self._process.signal(signal.SIGKILL)
        if (code := self._process.wait()) != -signal.SIGKILL:
            said = self._log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"A worker ended by itself with {code}:\n{said}")
        self._start()

    def freeze(self, seconds: float) -> None:
        """Stop it in the middle of whatever it does, as when its machine sleeps, and let it go on."""
        self._process.signal(signal.SIGSTOP)
        threading.Event().wait(seconds)
        self._process.signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        return self._process.pid

    def check_alive(self) -> None:
        """:raises RuntimeError: it has ended by itself."""
        self._process.check_alive()

    def stop(self) -> None:
        """Let it end as a deployment does."""
        self._process.stop()


class Sender:
    """A process of the application that sends one message after the other, and the next one as soon as it was killed.

    :param count: messages in all.
    :ivar accepted: the ids of those whose ``send`` returned.
    """

    def __init__(self, count: int, folder: Path, env: Mapping[str, str]) -> None:
        self.accepted: set[str] = set()
        self._count, self._first = count, 0
        self._log, self._env = folder / "sender.log", env
        self._start()

    def _start(self) -> None:
        left = max(0, self._count - len(self.accepted))
        # What the one before sent last may be stored without having been said: other numbers, other recipients.
        first, self._first = self._first, self._first + left
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "campaign.application"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **self._env, "FIRST": str(first), "COUNT": str(left)},
            )
        self._reading = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reading.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            self.accepted.update(line.strip() for line in process.stdout)

    def kill(self) -> None:
        """Kill -9."""
        self._process.kill()
        self._end()
        self._start()

    @property
    def over(self) -> bool:
        """Whether all is sent, or it failed."""
        return self._process.poll() is not None

    def _end(self) -> None:
        self._process.wait()
        self._reading.join()

    def wait(self) -> None:
        """Return once all is sent.

        :raises RuntimeError: it failed.
        """
        self._end()
        if self._process.returncode:
            said = self._log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"The sender failed with {self._process.returncode}:\n{said}")
