"""What the journeys share: an application in processes of its own, and the server that accounts for its mail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_outbox.ledger.store import Store
from flask_outbox.mail.address import Address
from flask_outbox.mail.letter import Letter, Terms
from journeys.accounting import AccountingServer
from servers.process import Process, free_port


class Deployment:
    """An application with an outbox and a mail server, each process started and killed by the test."""

    def __init__(self, folder: Path, smtp_port: int) -> None:
        self.folder = folder
        self.outbox = folder / "outbox" / "outbox.sqlite"
        self.env = {
            "FLASK_APP": "journeys.application:create_app",
            "FLASK_MAIL_URL": f"smtp://127.0.0.1:{smtp_port}?pool=4",
            "FLASK_MAIL_DEFAULT_SENDER": "app@example.org",
            "FLASK_MAIL_OUTBOX_URL": f"sqlite:///{self.outbox}",
            "FLASK_MAIL_WORKER": "external",
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "PYTHONWARNINGS": "default",
        }

    def worker(self, *options: str, name: str = "worker", **env: str) -> Process:
        """Start ``flask mail worker``."""
        return Process(
            [sys.executable, "-m", "flask", "mail", "worker", *options],
            log=self.folder / f"{name}.log",
            env=self.env | env,
        )

    def gunicorn(self, *options: str, **env: str) -> tuple[Process, str]:
        """Start a web server; its process and its address."""
        port = free_port()
        command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", *options]
        process = Process(
            [*command, "journeys.application:create_app()"],
            log=self.folder / "gunicorn.log",
            ports=[port],
            env=self.env | env,
        )
        return process, f"http://127.0.0.1:{port}"

    def run(self, code: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a script with the application at hand as ``app`` and ``mail``."""
        head = "from journeys.application import create_app, mail, send_one\napp = create_app()\n"
        return subprocess.run(
            [sys.executable, "-c", head + code],
            env={**os.environ, **self.env, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def cli(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run ``flask mail …`` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "flask", "mail", *arguments],
            env={**os.environ, **self.env, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def put(self, *numbers: int) -> set[str]:
        """Store letters, as a process of the application would; their ids, which are in their Message-IDs too."""
        store = Store(f"sqlite:///{self.outbox}")
        letters = [_letter(number) for number in numbers]
        store.add([(letter, Terms()) for letter in letters], time.time())
        store.dispose()
        return {letter.id for letter in letters}

    def fill(self, count: int) -> None:
        """Store that many letters."""
        code = f"with app.app_context():\n    for number in range({count}): send_one(number)\n"
        done = self.run(code)
        assert done.returncode == 0, done.stderr


def _letter(number: int) -> Letter:
    to = f"user{number}@example.org"
    return Letter(
        id=f"{number:032x}",
        message_id=f"<{number:032x}@example.org>",
        date=1_700_000_000,
        envelope_from="app@example.org",
        envelope_to=(to,),
        sender=Address("app@example.org"),
        to=(Address(to),),
        subject=f"Number {number}",
        text=f"This is number {number}.\n",
    )


def post(url: str) -> dict[str, list[str]]:
    """POST to the application and read its answer."""
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=30) as answer:
        found: dict[str, list[str]] = json.load(answer)
        return found


@pytest.fixture
def server() -> Iterator[AccountingServer]:
    with AccountingServer() as server:
        yield server


@pytest.fixture
def deployment(tmp_path: Path, server: AccountingServer) -> Deployment:
    return Deployment(tmp_path, server.port)
