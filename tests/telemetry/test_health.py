"""What counts as healthy, and the file that shows it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flask_outbox.telemetry.health import (
    DRAINING,
    ENDING,
    STANDING_BY,
    STARTING,
    STUCK,
    Health,
    HealthFile,
    of_all,
)

WELL = Health(DRAINING, 1, 1000.0, 0.5)


@pytest.mark.parametrize(
    ("health", "healthy"),
    [
        (WELL, True),
        (replace(WELL, state=STANDING_BY), True),
        (replace(WELL, paused={"default": "wrong password"}), True),
        (replace(WELL, oldest_due=1.0), True),
        (replace(WELL, tick=STUCK), False),
        (replace(WELL, ledger="disk gone"), False),
        (replace(WELL, tick=STUCK, state=ENDING), True),
    ],
)
def test_healthy_is_what_goes_round_and_reaches_its_ledger(health: Health, healthy: bool) -> None:
    assert health.healthy is healthy


def test_a_paused_transport_is_named() -> None:
    assert str(replace(WELL, paused={"default": "by hand"})) == "Draining. Paused: default."


def test_what_a_process_writes_can_be_read_and_has_aged() -> None:
    line = replace(WELL, paused={"default": "by hand"}).to_json().encode()
    assert Health.from_json(line, age=2.0) == replace(WELL, paused={"default": "by hand"}, tick=2.5)


def test_a_supervisor_drains_when_one_of_its_processes_does() -> None:
    health = of_all([replace(WELL, state=STANDING_BY, pid=2), replace(WELL, pid=3)], 1, 1001.0)
    assert (health.state, health.pid, [one.pid for one in health.processes]) == (
        DRAINING,
        1,
        [2, 3],
    )


def test_a_supervisor_is_alive_while_one_of_its_processes_is() -> None:
    stuck = replace(WELL, tick=STUCK)
    assert of_all([WELL, stuck], 1, 1001.0).healthy
    assert not of_all([stuck, stuck], 1, 1001.0).healthy


def test_what_one_process_says_of_the_ledger_goes_for_all() -> None:
    assert not of_all([WELL, replace(WELL, ledger="disk gone")], 1, 1001.0).healthy


def test_a_supervisor_tells_the_newest_of_what_is_due() -> None:
    older, newer = replace(WELL, oldest_due=5.0), replace(WELL, time=1000.5, oldest_due=None)
    assert of_all([newer, older], 1, 1001.0).oldest_due is None


def age(path: Path) -> float:
    return path.stat().st_mtime


def test_a_healthy_worker_renews_its_file(tmp_path: Path) -> None:
    path = tmp_path / "health"
    file = HealthFile(path, replace(WELL, state=STARTING, time=900.0))
    assert age(path) == 900.0
    file.see(WELL)
    assert age(path) == 1000.0


def test_a_worker_that_is_not_well_says_so_in_a_file_that_keeps_its_age(tmp_path: Path) -> None:
    path = tmp_path / "health"
    file = HealthFile(path, WELL)
    file.see(replace(WELL, time=1005.0, ledger="disk gone"))
    assert age(path) == 1000.0
    assert json.loads(path.read_text())["ledger"] == "disk gone"


def test_the_file_goes_with_the_worker(tmp_path: Path) -> None:
    HealthFile(tmp_path / "health", WELL).close()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "health").symlink_to(tmp_path / "victim")
    HealthFile(tmp_path / "health", WELL)
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_file_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        HealthFile(tmp_path / "nowhere" / "health", WELL)


def test_a_file_that_cannot_be_written_later_is_complained_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    file = HealthFile(folder / "health", WELL)
    (folder / "health").unlink()
    folder.rmdir()
    file.see(WELL)
    file.see(WELL)
    assert len(caplog.records) == 1
