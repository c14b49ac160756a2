"""What the manual says about deployment is tried: the unit, the Procfile and the containers' commands, as printed."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from journeys.accounting import AccountingServer
from servers.process import DEADLINE, Process, free_port, wait_until

DOCS = Path(__file__).parents[2] / "docs"

SHOP = """
from flask import Flask
from flask_outbox import Mail, Message

app = Flask(__name__)
app.config.from_prefixed_env()
mail = Mail(app)

@app.post("/")
def send():
    return mail.send(Message("Hello", recipients=["ada@example.org"], body="Hello")).id
"""


def block(page: str, start: str) -> str:
    """The code block of a page whose text begins like this."""
    text = (DOCS / page).read_text()
    for found in re.findall(r"^```[^\n]+\n(?::caption:[^\n]+\n\n)?(.*?)^```$", text, re.M | re.S):
        if found.startswith(start):
            return str(found)
    raise LookupError(f"no block of {page} begins with {start!r}")


class Shop:
    """An application in a folder of its own, with a virtual environment beside it."""

    def __init__(self, folder: Path, server: AccountingServer) -> None:
        self.folder = folder
        (folder / "app.py").write_text(SHOP)
        (folder / ".venv").symlink_to(sys.prefix)
        self.env = {
            "PATH": os.pathsep.join([f"{sys.prefix}/bin", os.environ["PATH"]]),
            "FLASK_APP": "app",
            "FLASK_MAIL_URL": f"smtp://127.0.0.1:{server.port}",
            "FLASK_MAIL_DEFAULT_SENDER": "shop@example.org",
        }

    def start(self, command: list[str], **options: Any) -> Process:
        env = self.env | options.pop("env", {})
        log = self.folder / "log"
        return Process(command, log=log, env=env, cwd=self.folder, **options)


@pytest.fixture
def shop(tmp_path: Path, server: AccountingServer) -> Shop:
    folder = tmp_path / "shop"
    folder.mkdir()
    return Shop(folder, server)


# -- systemd ---------------------------------------------------------------------------------------------------


class ServiceManager:
    """As much of systemd as a unit of ``Type=notify`` sees."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.settimeout(2 * DEADLINE)
        self.env = {"NOTIFY_SOCKET": str(folder / "notify")}

    def wait_for(self, line: str) -> list[str]:
        """The first message with that line; those before it are read, too."""
        while line not in (lines := self._socket.recv(4096).decode().split("\n")):
            pass
        return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(tmp_path)
    yield manager
    manager.close()


def unit(shop: Shop) -> Mapping[str, str]:
    """The manual's unit, with the folder of the application in place of ``/srv/shop``."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(block("deploying.md", "[Unit]").replace("/srv/shop", str(shop.folder)))
    return parser["Service"]


@pytest.mark.server("systemd")
@pytest.mark.parametrize(
    ("page", "start"),
    [
        ("deploying.md", "[Unit]\nDescription=Mail"),
        ("deploying.md", "[Unit]\nDescription=Relay"),
        ("celery.md", "[Unit]"),
    ],
)
def test_systemd_accepts_the_unit(shop: Shop, page: str, start: str) -> None:
    path = shop.folder / "shop.service"
    path.write_text(block(page, start).replace("/srv/shop", str(shop.folder)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if path.name in line]) == (
        0,
        [],
    )


def test_the_unit_is_started_reloaded_and_stopped_as_systemd_does_it(
    shop: Shop, manager: ServiceManager
) -> None:
    service = unit(shop)
    watchdog = {"WATCHDOG_USEC": f"{int(service['WatchdogSec'])}000000"}
    assert (service["Type"], service["WorkingDirectory"]) == ("notify", str(shop.folder))
    worker = shop.start(shlex.split(service["ExecStart"]), env=manager.env | watchdog)
    assert {"STATUS=Draining.", "WATCHDOG=1"} <= set(manager.wait_for("READY=1"))
    reload = service["ExecReload"].replace("$MAINPID", str(worker.pid))
    # A bare Debian has no /bin/kill; its shell has one.
    subprocess.run(["sh", "-c", reload.removeprefix("/bin/")], check=True)
    assert manager.wait_for("RELOADING=1")[1].startswith("MONOTONIC_USEC=")
    manager.wait_for("READY=1")
    worker.signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    assert worker.wait() == 0


def test_a_supervisor_is_ready_when_its_processes_are(shop: Shop, manager: ServiceManager) -> None:
    command = [*shlex.split(unit(shop)["ExecStart"]), "--processes=1"]
    worker = shop.start(command, env=manager.env)
    manager.wait_for("READY=1")
    worker.signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    worker.signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    assert worker.wait() == 0


# -- Procfile --------------------------------------------------------------------------------------------------


def test_the_procfile_runs_web_and_worker_and_ends_them_cleanly(
    shop: Shop, server: AccountingServer
) -> None:
    (shop.folder / "Procfile").write_text(block("deploying.md", "web: "))
    port = free_port()
    honcho = shop.start(
        [sys.executable, "-m", "honcho", "start", "--no-colour"],
        ports=[port],
        env={"PORT": str(port), "PYTHONUNBUFFERED": "1"},
    )
    wait_until(lambda: "drains the outbox now" in honcho.log.read_text(), "the worker")
    urllib.request.urlopen(f"http://127.0.0.1:{port}/", data=b"", timeout=DEADLINE).close()
    server.wait_for(1)
    honcho.signal(signal.SIGTERM)
    honcho.wait()
    log = honcho.log.read_text()
    assert "The mail worker has ended." in log
    assert "Traceback" not in log


# -- containers ------------------------------------------------------------------------------------------------


def compose() -> Mapping[str, Any]:
    found: dict[str, Any] = yaml.safe_load(block("containers.md", "services:"))
    return found


def test_the_containers_worker_runs_and_its_health_check_tells_a_dead_one(
    shop: Shop, tmp_path: Path
) -> None:
    service = compose()["services"]["worker"]
    health = tmp_path / "mail-worker"
    command = [word.replace("/tmp/mail-worker", str(health)) for word in service["command"]]
    check = service["healthcheck"]["test"].replace("/tmp/mail-worker", str(health))

    def healthy() -> bool:
        return subprocess.run(["sh", "-c", check.replace("$$", "$")]).returncode == 0

    settings = {
        "FLASK_MAIL_OUTBOX_URL": f"sqlite:///{tmp_path}/data/outbox.sqlite",
        "FLASK_MAIL_WORKER": service["environment"]["FLASK_MAIL_WORKER"],
    }
    with shop.start(command, env=settings):
        wait_until(lambda: health.exists() and "draining" in health.read_text(), "its health")
        assert healthy()
    health.touch()
    os.utime(health, (0, 0))
    assert not healthy()


def test_the_image_starts_the_web_server(shop: Shop) -> None:
    (line,) = re.findall(r"^CMD (.+)$", block("containers.md", "FROM"), re.M)
    command = json.loads(line)
    done = subprocess.run([*command, "--check-config"], cwd=shop.folder, env=os.environ | shop.env)
    assert done.returncode == 0


def test_web_and_worker_share_settings_and_volume() -> None:
    services = compose()["services"]
    for key in ("environment", "volumes", "read_only", "tmpfs"):
        assert services["web"][key] == services["worker"][key]


def test_no_command_of_a_container_has_a_shell_before_it() -> None:
    commands = [
        json.loads(line) for line in re.findall(r"^CMD (.+)$", block("containers.md", "FROM"), re.M)
    ]
    commands += [
        service["command"] for service in compose()["services"].values() if "command" in service
    ]
    assert [type(command) for command in commands] == [list, list]
