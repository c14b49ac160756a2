"""A process whose threads gevent has replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from journeys.accounting import AccountingServer
from journeys.conftest import Deployment

_PATCHED = """
from gevent import monkey
monkey.patch_all()
import asyncio, os
from ways.application import create_app, letter, mail
app = create_app()
"""


@pytest.fixture
def server() -> Iterator[AccountingServer]:
    with AccountingServer() as server:
        yield server


def run(tmp_path: Path, server: AccountingServer, code: str) -> str:
    env = Deployment(tmp_path, server.port).env | {"FLASK_MAIL_WORKER": "thread"}
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", _PATCHED + code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_script_waits_for_the_server_and_for_its_outbox(
    tmp_path: Path, server: AccountingServer
) -> None:
    code = """
with app.app_context():
    print(mail.send(letter(1), engine="immediate").state, mail.send(letter(2)).state)
"""
    assert run(tmp_path, server, code) == "sent queued\n"
    assert len(server.copies) == 2


def test_a_loop_of_the_applications_own_runs_beside_that_of_the_mail(
    tmp_path: Path, server: AccountingServer
) -> None:
    code = """
async def view():
    return (await mail.send_async(letter(2))).state

with app.app_context():
    mail.send(letter(1), engine="immediate")
    print(asyncio.run(view()))
"""
    assert run(tmp_path, server, code) == "queued\n"
    assert len(server.copies) == 2
