"""kill -9 at any point: nothing is lost, and what is repeated is repeated exactly."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading

import pytest

from journeys.accounting import AccountingServer
from journeys.conftest import Deployment
from servers.process import Process

MESSAGES = 1_000
KILLS = 20
CONNECTIONS = 4
UNRECORDED = 20


class Assassin:
    """Kills a worker once the server has read so many messages, before the reply to the last one is written."""

    def __init__(self, server: AccountingServer) -> None:
        self._at = 0
        self._victim: Process | None = None
        self._lock = threading.Lock()
        server.on_content = self._strike

    def aim(self, victim: Process, at: int) -> None:
        with self._lock:
            self._victim, self._at = victim, at

    def _strike(self, count: int) -> None:
        with self._lock:
            if self._victim is not None and count >= self._at:
                os.kill(self._victim.pid, signal.SIGKILL)
                self._victim = None


@pytest.mark.timeout(300)
def test_no_kill_of_the_worker_loses_a_message(
    server: AccountingServer, deployment: Deployment
) -> None:
    """20 kills within 1,000 messages: 0 lost, at most connections + 20 repeated a kill, each copy the same."""
    seed = int(os.environ.get("FLASK_OUTBOX_SEED", random.randrange(1 << 30)))
    print(f"FLASK_OUTBOX_SEED={seed}")
    chance = random.Random(seed)
    deployment.fill(MESSAGES)
    assassin = Assassin(server)
    points = sorted(chance.sample(range(1, MESSAGES), KILLS))
    for point in points:
        server.era += 1
        worker = deployment.worker()
        assassin.aim(worker, server.count + max(1, point - len(server.copies)))
        assert worker.wait() == -signal.SIGKILL
    server.era += 1
    with deployment.worker():
        server.wait_for(MESSAGES)
    repeated = [server.repeated_from(kill) for kill in range(1, KILLS + 1)]
    assert len(server.copies) == MESSAGES
    assert max(repeated) <= CONNECTIONS + UNRECORDED, repeated
    assert all(len(set(copies)) == 1 for copies in server.copies.values())
    print(f"repeated a kill: {repeated}")


def test_no_kill_of_the_web_process_right_after_send_loses_a_message(
    server: AccountingServer, deployment: Deployment
) -> None:
    code = """
import os, signal
with app.app_context():
    print(send_one(int(os.environ["NUMBER"])), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ids = set()
    for number in range(10):
        done = deployment.run(code, NUMBER=str(number), FLASK_MAIL_WORKER="thread")
        assert done.returncode == -signal.SIGKILL, done.stderr
        ids.add(done.stdout.strip())
    with deployment.worker():
        server.wait_for(10)
    assert {message_id[1:33] for message_id in server.copies} == ids


def test_eight_processes_that_start_on_one_fresh_file_have_no_error(
    server: AccountingServer, deployment: Deployment
) -> None:
    code = """
import sys
from journeys.application import create_app, send_one
app = create_app()
print("ready", flush=True)
sys.stdin.readline()
with app.app_context():
    send_one(int(sys.argv[1]))
"""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **deployment.env},
        )
        for number in range(8)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate(timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [0] * 8, said
    assert "Error" not in "".join(said)
    with deployment.worker():
        server.wait_for(8)
