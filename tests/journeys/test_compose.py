"""The Compose file of the examples: its services fit together, and their commands, as printed, deliver a mail."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from journeys.accounting import AccountingServer
from servers.postgres import Postgres
from servers.process import DEADLINE, Process, free_port
from servers.redis import Redis

EXAMPLE = Path(__file__).parents[2] / "examples" / "compose"
DOCKERFILE = (EXAMPLE / "Dockerfile").read_text()
SERVICES: Mapping[str, Any] = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())["services"]

#: Those that are made of the image.
OURS = ("web", "worker", "tables")


def environment(folder: Path, **instead: str) -> dict[str, str]:
    """That of a service, with what its shell variables default to, and with places of this machine."""
    given = {
        name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        for name, value in SERVICES["web"]["environment"].items()
    }
    assert given.keys() >= instead.keys()
    path = os.pathsep.join([f"{sys.prefix}/bin", os.environ["PATH"]])
    (flask_app,) = re.findall(r"^ENV FLASK_APP=(\w+)$", DOCKERFILE, re.M)
    here = {"FLASK_APP": flask_app, "PATH": path}
    # Each of the processes would compile everything again, where nothing may be written beside the code.
    here |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    return {**os.environ, **given, **instead, **here}


def test_web_worker_and_tables_are_one_image_with_the_same_settings() -> None:
    for key in ("build", "environment", "read_only", "tmpfs"):
        assert [SERVICES[name][key] for name in OURS] == [SERVICES["web"][key]] * 3
    assert [SERVICES[name]["ports"] for name in ("worker", "tables")] == [[], []]


def test_the_hosts_of_the_settings_are_services() -> None:
    settings = SERVICES["web"]["environment"]
    assert re.findall(r"@(\w+)/", settings["FLASK_MAIL_OUTBOX_URL"]) == ["db"]
    assert re.findall(r"//(\w+):", settings["FLASK_CELERY__broker_url"]) == ["broker"]
    assert {"db", "broker"} <= SERVICES.keys()


def test_the_image_is_made_of_files_that_exist() -> None:
    copied = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY")]
    context = EXAMPLE / SERVICES["web"]["build"]["context"]
    assert [file for files in copied for file in files if not (context / file).exists()] == []
    assert (context / SERVICES["web"]["build"]["dockerfile"]).exists()


@pytest.mark.server("postgres")
@pytest.mark.server("redis")
def test_the_commands_of_the_services_deliver_a_mail(
    tmp_path: Path, postgres: Postgres, redis_server: Redis, server: AccountingServer
) -> None:
    env = environment(
        tmp_path,
        FLASK_MAIL_URL=f"smtp://127.0.0.1:{server.port}",
        FLASK_MAIL_OUTBOX_URL=postgres.database(),
        FLASK_CELERY__broker_url=redis_server.url,
    )
    commands = {name: SERVICES[name].get("command") for name in OURS}
    (line,) = re.findall(r"^CMD (.+)$", DOCKERFILE, re.M)
    port = free_port()
    commands["web"] = [
        word.replace("0.0.0.0:8000", f"127.0.0.1:{port}") for word in json.loads(line)
    ]
    subprocess.run(commands["tables"], cwd=EXAMPLE, env=env, check=True, capture_output=True)
    with (
        Process(commands["web"], log=tmp_path / "web", ports=[port], env=env, cwd=EXAMPLE),
        Process(commands["worker"], log=tmp_path / "worker", env=env, cwd=EXAMPLE),
    ):
        body = b"email=ada@example.org"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/signup", body, DEADLINE) as answer:
            assert answer.read() == b"Check your inbox.\n"
        server.wait_for(1)
    redis_server.flush()
