"""Each cell of the table, with the real server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from journeys.accounting import AccountingServer
from servers.process import wait_until
from ways.runner import Gate, Runner
from ways.runners import RUNNERS
from ways.table import WAYS, Claim, Way
from ways.web import Web

#: In this order a server is started twice for all of its cells.
ORDER = (Claim.SENDS, Claim.RESTARTS, Claim.SURVIVES, Claim.DRAINS)
CELLS = [(way, claim) for way in WAYS for claim in ORDER if way.cell(claim).applies]


@pytest.fixture(scope="module")
def runner_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Way], Runner]]:
    """Gives the runner of a way, which lives until that of another is asked for."""
    runner: Runner | None = None
    with ExitStack() as running:

        def runner_of(way: Way) -> Runner:
            nonlocal runner
            if runner is None or runner.way is not way:
                running.close()
                server = running.enter_context(AccountingServer())
                runner = RUNNERS[way.kind](way, tmp_path_factory.mktemp("way"), server)
                running.callback(runner.close)
            return runner

        yield runner_of


@pytest.mark.parametrize(
    ("way", "claim"), CELLS, ids=[f"{way.slug}-{claim.name.lower()}" for way, claim in CELLS]
)
def test_a_way_of_running_keeps_what_the_table_claims(
    way: Way, claim: Claim, runner_of: Callable[[Way], Runner]
) -> None:
    getattr(runner_of(way), claim.name.lower())()


def test_every_claim_of_the_table_has_a_runner_that_shows_it() -> None:
    assert [
        (way.name, claim)
        for way, claim in CELLS
        if claim.name.lower() not in vars_of(RUNNERS[way.kind])
    ] == []


def test_every_cell_that_does_not_apply_says_why() -> None:
    assert [
        (way.name, claim)
        for way in WAYS
        for claim in Claim
        if not (way.cell(claim).applies or way.cell(claim).note)
    ] == []


def vars_of(kind: type[Runner]) -> set[str]:
    """The methods that a kind of runner, or what it is made from, has for itself."""
    return {name for base in kind.__mro__ if base not in (Runner, object) for name in vars(base)}


_WATCHED = """
import sys
def hear(event, details):
    of_outbox = event == "open" and "outbox.sqlite" in str(details[0])
    if of_outbox or event in ("_thread.start_new_thread", "sqlite3.connect"):
        print("HEARD", event)
sys.addaudithook(hear)
from flask.cli import main
main()
"""


@pytest.mark.parametrize("command", ["routes", "upgrade"])
def test_a_command_that_sends_nothing_starts_no_thread_and_opens_no_file(
    command: str, tmp_path: Path
) -> None:
    outbox = tmp_path / "outbox" / "outbox.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, command],
        env={
            **os.environ,
            "FLASK_APP": "ways.application:create_app",
            "FLASK_MAIL_URL": "smtp://127.0.0.1:1",
            "FLASK_MAIL_DEFAULT_SENDER": "app@example.org",
            "FLASK_MAIL_OUTBOX_URL": f"sqlite:///{outbox}",
            "PYTHONPATH": str(Path(__file__).parent.parent),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "HEARD" not in done.stdout
    assert not outbox.parent.exists()


def test_a_reload_of_the_development_server_goes_on_with_the_mail(tmp_path: Path) -> None:
    watched = tmp_path / "watched.py"
    watched.touch()
    command = f"flask run --port={{port}} --debug --extra-files={watched}"
    with (
        AccountingServer() as server,
        closing(Web(Way("", "web", command), tmp_path, server)) as web,
    ):
        before = web.visit("/pid")
        gate = Gate(server)
        web.post(5)
        gate.wait()
        watched.write_text("changed")
        gate.open()
        wait_until(lambda: web.answered_by_another_than(before), "reload")
        web.post(1)
        web.wait_for_all()
        assert server.duplicates == 0
