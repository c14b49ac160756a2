"""``await mail.send_async`` in async views, with the servers that people run them by."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from journeys.accounting import AccountingServer
from journeys.conftest import Deployment
from servers.process import wait_until
from ways.runner import Gate
from ways.table import Way
from ways.web import Web

_APPLICATION = "ways.asgi_application"
_GUNICORN = "gunicorn --bind=127.0.0.1:{port} --threads=2"
_HYPERCORN = "hypercorn --bind=127.0.0.1:{port}"
_UVICORN = "uvicorn --port={port} --factory"

WSGI = {"gunicorn": f"{_GUNICORN} {_APPLICATION}:create_flask()"}
ASGI = {
    "hypercorn": f"{_HYPERCORN} {_APPLICATION}:create_asgi()",
    "uvicorn": f"{_UVICORN} --loop=asyncio {_APPLICATION}:create_asgi",
    "uvicorn, uvloop": f"{_UVICORN} --loop=uvloop {_APPLICATION}:create_asgi",
}
QUART = {
    "quart, hypercorn": f"{_HYPERCORN} {_APPLICATION}:create_quart()",
    "quart, uvicorn": f"{_UVICORN} {_APPLICATION}:create_quart",
}


class Running(Web):
    """One of these servers, whose views tell the test how far they are."""

    def __init__(self, name: str, folder: Path, server: AccountingServer) -> None:
        command = (WSGI | ASGI | QUART)[name]
        super().__init__(Way(name, "web", command), folder, server)
        self.told = folder / "told"
        self.told.mkdir()
        self.env |= {
            "SMTP_PORT": str(server.port),
            "TOLD": str(self.told),
        }
        self._background = ThreadPoolExecutor(1)  # its thread ends with the test's process

    def ask(self, path: str) -> dict[str, str]:
        """The answer to a POST."""
        request = urllib.request.Request(self.running_url() + path, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, str] = json.load(answer)
            return found

    def begin(self, path: str) -> Future[dict[str, str]]:
        """The same, without waiting."""
        self.running()
        return self._background.submit(self.ask, path)

    def wait_for(self, told: str) -> None:
        """Return when a view has told this."""
        wait_until((self.told / told).exists, f"view that tells '{told}'")

    def wait_for_mail(self, number: int) -> None:
        """Return when that letter is with the server."""
        name = f"<{number}@flask-outbox>"
        wait_until(lambda: name in self.server.copies, f"letter {number} at the server")

    @property
    def address(self) -> tuple[str, int]:
        """Where the server listens."""
        host, _, port = self.running_url().removeprefix("http://").partition(":")
        return host, int(port)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the outbox, so that nothing can be stored."""
        self.ask("/await/outbox/0")  # which makes the file
        with closing(sqlite3.connect(self.deployment.outbox, isolation_level=None)) as outbox:
            outbox.execute("BEGIN IMMEDIATE")
            yield
            outbox.execute("COMMIT")


@pytest.fixture(scope="module")
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    with AccountingServer() as server:
        running = Running(request.param, tmp_path_factory.mktemp("way"), server)
        yield running
        running.close()


def by(*kinds: dict[str, str]) -> pytest.MarkDecorator:
    """Once by each of these servers."""
    names = [name for kind in kinds for name in kind]
    return pytest.mark.parametrize("running", names, indirect=True)


@by(WSGI, ASGI, QUART)
@pytest.mark.parametrize(
    ("engine", "number", "state"),
    [("outbox", 1, "queued"), ("background", 2, "queued"), ("immediate", 3, "sent")],
)
def test_a_view_awaits_its_mail_and_it_arrives(
    running: Running, engine: str, number: int, state: str
) -> None:
    assert running.ask(f"/await/{engine}/{number}") == {"state": state}
    running.wait_for_mail(number)


@by(WSGI, ASGI, QUART)
def test_the_loop_runs_on_while_the_outbox_is_locked(running: Running) -> None:
    with running.locked():
        answer = running.begin("/turns/outbox/4")
        running.wait_for("turned 4")
        assert not answer.done()
    assert answer.result() == {"state": "queued"}


@by(WSGI, ASGI, QUART)
def test_the_loop_runs_on_while_the_mail_server_withholds_its_reply(running: Running) -> None:
    gate = Gate(running.server)
    answer = running.begin("/turns/immediate/5")
    running.wait_for("turned 5")
    assert not answer.done()
    gate.open()
    assert answer.result() == {"state": "sent"}


@by(WSGI)
def test_a_task_of_aiosmtplib_dies_with_its_view_and_ours_arrives(running: Running) -> None:
    running.ask("/leave/6")
    running.wait_for("cancelled 6")
    running.wait_for_mail(6)
    assert "<6@aiosmtplib>" not in running.server.copies


@by(ASGI, QUART)
def test_behind_asgi_the_loop_outlives_its_views(running: Running) -> None:
    running.ask("/leave/7")
    running.wait_for("sent 7")
    running.wait_for_mail(7)
    assert "<7@aiosmtplib>" in running.server.copies


@by(QUART)
def test_the_mail_arrives_of_a_client_that_has_gone(running: Running) -> None:
    with running.locked():
        with socket.create_connection(running.address) as client:
            client.sendall(
                b"POST /disconnected/8 HTTP/1.1\r\nHost: me\r\nContent-Length: 0\r\n\r\n"
            )
            running.wait_for("begun 8")
        running.wait_for("cancelled 8")
    running.wait_for_mail(8)


def test_uvicorn_ends_by_the_signal_and_the_next_process_sends_the_mail(tmp_path: Path) -> None:
    with AccountingServer() as server:
        running = Running("uvicorn", tmp_path, server)
        gate = Gate(server)
        running.ask("/await/outbox/9")
        gate.wait()
        process = running.running()
        process.signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
        gate.open()
        running.close()
        running.visit("/")
        wait_until(lambda: set(running.states().values()) == {"sent"}, "next process's send")
        running.close()


def test_a_script_sends_from_a_loop_of_its_own_and_drains_at_its_end(tmp_path: Path) -> None:
    code = """
import asyncio
from flask_outbox import Message
async def main():
    with app.app_context():
        messages = [Message("Hi", recipients=["a@example.org"], body="Hi") for _ in range(20)]
        await asyncio.gather(*map(mail.send_async, messages))
asyncio.run(main())
"""
    with AccountingServer() as server:
        done = Deployment(tmp_path, server.port).run(code, FLASK_MAIL_WORKER="thread")
        assert done.returncode == 0, done.stderr
        assert len(server.copies) == 20
