"""``flask mail worker`` as a service: its signals, its stand-by, its children, its health."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import sqlalchemy

from flask_outbox.ledger.file import DrainerLock
from flask_outbox.ledger.store import Store
from flask_outbox.ledger.tables import attempt
from journeys.accounting import AccountingServer
from journeys.conftest import Deployment
from servers.postgres import Postgres
from servers.process import Process, free_port, wait_until
from ways.runner import Gate

#: Seconds for a process that starts others, on a machine that has much else to do.
PATIENCE = 60.0

#: An application whose settings lie in a file that a test writes anew.
APPLICATION = """
import json, pathlib
from flask import Flask
from flask_outbox import Mail

def create_app():
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.update(json.loads(pathlib.Path(__file__).with_name("settings.json").read_text()))
    Mail(app)
    return app
"""


def said(process: Process, text: str, times: int = 1) -> None:
    """Wait until its log has that text so often."""

    def seen() -> bool:
        process.check_alive()
        return process.log.read_text().count(text) >= times

    wait_until(seen, f"{text!r} in {process.log}", PATIENCE)


def configurable(deployment: Deployment) -> Path:
    """The file of settings of an application that reads one."""
    (deployment.folder / "shop.py").write_text(APPLICATION)
    deployment.env["FLASK_APP"] = f"{deployment.folder / 'shop.py'}:create_app"
    settings = deployment.folder / "settings.json"
    settings.write_text("{}")
    return settings


def health(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def child_of(path: Path) -> dict[str, Any]:
    """The health of a supervisor's only process."""
    children = health(path)["processes"] if path.exists() else []
    return children[0] if children else {"state": ""}


# -- standing by -----------------------------------------------------------------------------------------------


def test_a_second_worker_stands_by_and_takes_over_when_the_first_is_killed(
    server: AccountingServer, deployment: Deployment
) -> None:
    first = deployment.worker()
    said(first, "drains the outbox now")
    with deployment.worker(name="second") as second:
        said(second, "this one stands by")
        first.kill()
        deployment.put(0, 1, 2)
        server.wait_for(3)
        said(second, "drains the outbox now")
    assert server.duplicates == 0


def test_a_worker_that_stands_by_ends_cleanly(deployment: Deployment) -> None:
    deployment.put()
    first = DrainerLock(deployment.outbox, external=True)
    assert first.acquire()
    worker = deployment.worker()
    said(worker, "this one stands by")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    first.release()


# -- signals ---------------------------------------------------------------------------------------------------


def test_a_reload_amid_the_mail_repeats_nothing_and_keeps_the_process(
    server: AccountingServer, deployment: Deployment
) -> None:
    deployment.put(*range(400))
    with deployment.worker() as worker:
        server.wait_for(100)
        worker.signal(signal.SIGHUP)
        said(worker, "drains the outbox now", 2)
        server.wait_for(400)
    assert server.duplicates == 0


def test_a_reload_reads_the_settings_again(
    server: AccountingServer, deployment: Deployment
) -> None:
    settings = configurable(deployment)
    with AccountingServer() as other, deployment.worker() as worker:
        said(worker, "drains the outbox now")
        settings.write_text(json.dumps({"MAIL_URL": f"smtp://127.0.0.1:{other.port}"}))
        worker.signal(signal.SIGHUP)
        said(worker, "drains the outbox now", 2)
        deployment.put(0, 1)
        other.wait_for(2)
    assert server.count == 0


def test_a_second_sigterm_ends_a_worker_that_still_waits_for_a_server(
    server: AccountingServer, deployment: Deployment
) -> None:
    gate = Gate(server)
    deployment.put(0)
    worker = deployment.worker()
    gate.wait()
    worker.signal(signal.SIGTERM)
    said(worker, "Finishing what is being sent")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == -signal.SIGTERM
    gate.open()


def test_a_worker_whose_terminal_is_closed_ends(deployment: Deployment) -> None:
    ours, theirs = pty.openpty()
    log = deployment.folder / "terminal.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "flask", "mail", "worker"],
            stdin=theirs,
            stdout=output,
            stderr=output,
            env={**os.environ, **deployment.env},
        )
    try:
        os.close(theirs)
        wait_until(lambda: "drains the outbox now" in log.read_text(), "the worker's start")
        os.close(ours)
        worker.send_signal(signal.SIGHUP)
        assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.wait()


# -- several processes -----------------------------------------------------------------------------------------


def test_two_processes_on_one_file_are_warned_of_and_one_takes_over_from_the_other(
    server: AccountingServer, deployment: Deployment
) -> None:
    path = deployment.folder / "health.json"
    deployment.put(0)
    with deployment.worker("--processes=2", f"--health-file={path}") as parent:
        said(parent, "Of 2 processes 1 stand by")
        said(parent, "drains the outbox now")
        said(parent, "this one stands by")
        wait_until(lambda: health(path)["state"] == "draining", "a healthy supervisor", PATIENCE)
        processes = health(path)["processes"]
        assert sorted(one["state"] for one in processes) == ["draining", "standing by"]
        (drainer,) = (one["pid"] for one in processes if one["state"] == "draining")
        os.kill(drainer, signal.SIGKILL)
        said(parent, "drains the outbox now", 2)
        deployment.put(1, 2)
        server.wait_for(3)
    assert "The mail worker has ended." in parent.log.read_text()


def test_a_reload_that_cannot_start_leaves_the_former_worker_at_work(
    server: AccountingServer, deployment: Deployment
) -> None:
    settings = configurable(deployment)
    with deployment.worker("--processes=1") as parent:
        said(parent, "drains the outbox now")
        settings.write_text(json.dumps({"MAIL_PORT": "nonsense"}))
        parent.signal(signal.SIGHUP)
        said(parent, "the former ones go on")
        settings.write_text("{}")
        deployment.put(0)
        server.wait_for(1)


def test_a_supervised_worker_asked_twice_still_finishes(
    server: AccountingServer, deployment: Deployment
) -> None:
    """As systemd does, which tells every process of a service, beside what the supervisor says."""
    gate = Gate(server)
    path = deployment.folder / "health.json"
    deployment.put(0)
    parent = deployment.worker("--processes=1", f"--health-file={path}")
    wait_until(lambda: child_of(path)["state"] == "draining", "a child", PATIENCE)
    gate.wait()
    pid = int(child_of(path)["pid"])
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: child_of(path)["state"] == "ending", "the child's end")
    parent.signal(signal.SIGTERM)
    os.kill(pid, signal.SIGTERM)
    gate.open()
    assert parent.wait() == 0
    with deployment.worker():
        deployment.put(1)
        server.wait_for(2)
    assert server.duplicates == 0


def test_a_worker_ends_when_its_supervisor_is_gone_and_has_not_heard_its_last_words(
    deployment: Deployment,
) -> None:
    ours, theirs = socket.socketpair()
    worker = subprocess.Popen(
        [sys.executable, "-m", "flask", "mail", "worker", "--post", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env={**os.environ, **deployment.env},
    )
    try:
        theirs.close()
        said_something, _, _ = select.select([ours], [], [], PATIENCE)
        assert said_something
        ours.close()
        assert worker.wait(PATIENCE) == 0
    finally:
        worker.kill()
        worker.wait()


def test_a_second_sigterm_to_a_supervisor_kills_its_workers(
    server: AccountingServer, deployment: Deployment
) -> None:
    gate = Gate(server)
    path = deployment.folder / "health.json"
    deployment.put(0)
    parent = deployment.worker("--processes=1", f"--health-file={path}")
    wait_until(lambda: child_of(path)["state"] == "draining", "a child", PATIENCE)
    gate.wait()
    parent.signal(signal.SIGTERM)
    said(parent, "Finishing what is being sent")
    parent.signal(signal.SIGTERM)
    assert parent.wait() == -signal.SIGTERM
    drainer = DrainerLock(deployment.outbox, external=True)
    wait_until(lambda: not drainer.taken(), "end of the child")
    gate.open()


# -- health ----------------------------------------------------------------------------------------------------


def test_a_worker_shows_its_health_in_a_file_and_on_a_port(deployment: Deployment) -> None:
    path, port = deployment.folder / "health.json", free_port()
    worker = deployment.worker(f"--health-file={path}", f"--health-port={port}")
    wait_until(lambda: path.exists() and health(path)["state"] == "draining", "its health")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as answer:
        assert (answer.status, json.load(answer)["pid"]) == (200, worker.pid)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert not path.exists()


def test_a_port_that_is_taken_is_said_in_one_line(deployment: Deployment) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = deployment.cli("worker", f"--health-port={port}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"Error: 127.0.0.1:{port}: ")


def test_two_processes_share_the_work_of_a_server_database(
    server: AccountingServer, deployment: Deployment, postgres: Postgres
) -> None:
    url = postgres.database()
    deployment.env["FLASK_MAIL_OUTBOX_URL"] = url
    assert deployment.cli("init-db").returncode == 0
    with deployment.worker("--processes", "2") as parent:
        wait_until(
            lambda: parent.log.read_text().count("drains the outbox now") == 2, "two workers"
        )
        deployment.fill(200)
        server.wait_for(200)
    store = Store(url)
    with store.database.snapshot() as connection:
        hands = connection.execute(sqlalchemy.select(attempt.c.worker_id).distinct()).all()
    store.dispose()
    assert (len(server.copies), server.duplicates) == (200, 0)
    assert len(hands) == 2
