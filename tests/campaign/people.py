"""Those who take part: processes that are struck and followed by the next one."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from servers.process import Process

#: How a worker ends that begins while its database is away or its disk full.
_UNUSABLE = "Error: The outbox"


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
        self._process.wait()
        self.look_after(-signal.SIGKILL)

    def look_after(self, *allowed: int) -> None:
        """Start it again where it could not use the outbox when it began: a service manager does so.

        :param allowed: what else it may have ended with.
        :raises RuntimeError: it has ended by itself.
        """
        if (code := self._process.ended) is None:
            return
        last = self._log.read_text(errors="replace").splitlines()[-50:]
        if code not in allowed and not any(line.startswith(_UNUSABLE) for line in last[-3:]):
            raise RuntimeError("\n".join([f"A worker ended by itself with {code}:", *last]))
        self._start()

    def freeze(self, seconds: float) -> None:
        """Stop it in the middle of whatever it does, as when its machine sleeps, and let it go on."""
        self._process.signal(signal.SIGSTOP)
        threading.Event().wait(seconds)
        self._process.signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """Let it end as a deployment does."""
        self._process.stop()


class Sender:
    """A process of the application that sends one message after the other, and the next one as soon as it was killed.

    :ivar allowed: how many messages it may send in all.
    :ivar accepted: the ids of those whose ``send`` returned.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.allowed = 0
        self.accepted: set[str] = set()
        self._log, self._env = folder / "sender.log", env
        self._numbers = itertools.count(0, 1_000_000)
        self._start()

    def _start(self) -> None:
        # What the one before sent last may be stored without having been said: other numbers, other recipients.
        env = {**os.environ, **self._env, "FIRST": str(next(self._numbers))}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "campaign.application"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                env=env,
            )
        self._reading = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reading.start()
        self._permit(self.allowed - len(self.accepted))

    def allow(self, messages: int) -> None:
        """It may send so many more."""
        if messages > 0:
            self.allowed += messages
            self._permit(messages)

    def _permit(self, messages: int) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has failed: its end is looked at later
            self._process.stdin.write(bytes(messages))

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.accepted.add(line.decode().strip())

    def kill(self) -> None:
        """Kill -9."""
        self._process.kill()
        self._end()
        self._start()

    @property
    def refused(self) -> int:
        """How often a ``send`` raised, and it tried again."""
        return self._log.read_text(errors="replace").count("refused: ")

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._reading.join()

    def stop(self) -> None:
        """Let it end, wherever it is."""
        self._process.kill()
        self._end()

    def wait(self) -> None:
        """Return once it has sent all that it may.

        :raises RuntimeError: it failed.
        """
        self._end()
        if self._process.returncode:
            said = self._log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"The sender failed with {self._process.returncode}:\n{said}")
