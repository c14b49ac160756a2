"""An application that sends in this process, and the workers of its task queue in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from flask import Flask

from flask_outbox import Mail
from servers.process import Process

TESTS = Path(__file__).parents[1]


class Workplace(ABC):
    """An application with an outbox, the queue that its mail is sent by, and the workers of that.

    :param place: of the broker.
    """

    #: What ``MAIL_ENGINE`` calls the queue.
    engine: str

    def __init__(self, folder: Path, smtp_port: int, place: str) -> None:
        self.folder = folder
        self.place = place
        self.settings: dict[str, Any] = {
            "MAIL_ENGINE": self.engine,
            "MAIL_URL": f"smtp://127.0.0.1:{smtp_port}?pool=2",
            "MAIL_DEFAULT_SENDER": "app@example.org",
            "MAIL_OUTBOX_URL": f"sqlite:///{folder}/outbox/outbox.sqlite",
            "MAIL_RETRY_DELAYS": [0.2],
            "MAIL_RELAY_PATIENCE": 1.0,
        }
        self.env = {
            "BROKER": place,
            "PYTHONPATH": str(TESTS),
            "PYTHONWARNINGS": "default",
            # Each of the many processes would compile everything again, where nothing may be written beside the code.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(folder.parent / "bytecode"),
            **{f"FLASK_{key}": json.dumps(value) for key, value in self.settings.items()},
        }
        self._workers: list[Process] = []
        self._apps: list[Flask] = []

    # -- of each queue -----------------------------------------------------------------------------------------

    @abstractmethod
    def commands(self) -> list[list[str]]:
        """Those that start its workers, and what must run besides."""

    @abstractmethod
    def queue(self, name: str) -> Any:
        """What ``MAIL_TASK_QUEUE`` is to be; none of another name has its tasks."""

    @abstractmethod
    def waiting(self, queue: Any) -> int:
        """How many of its tasks the broker has that no worker has taken."""

    @abstractmethod
    def flush(self, queue: Any) -> None:
        """Let the broker forget them."""

    @abstractmethod
    def greet(self, queue: Any, address: str) -> None:
        """Put a task of the user's own on it, ``greet`` of the module."""

    # -- of all ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start its workers."""
        self._workers += [
            Process(command, log=self.folder / "workers.log", env=self.env, cwd=self.folder)
            for command in self.commands()
        ]

    def kill(self) -> None:
        """Kill -9 its workers, and what they have started, in whatever process group."""
        for worker in self._workers:
            for pid in _session(worker.pid):
                os.kill(pid, signal.SIGKILL)
            worker.kill()
        self._workers.clear()

    def app(self, queue: Any, **settings: Any) -> Flask:
        """The application as it sends, in this process."""
        app = Flask(__name__, instance_path=str(self.folder))
        app.config.update(self.settings, MAIL_TASK_QUEUE=queue)
        app.config.update(settings)
        Mail(app)
        self._apps.append(app)
        return app

    def close(self) -> None:
        self.kill()
        for app in self._apps:
            app.extensions["flask_outbox"].close()


def _session(leader: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,sess="], capture_output=True, text=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [int(pid) for pid, session in rows if int(session) == leader]
