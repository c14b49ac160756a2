"""What systemd is told, and where."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flask_outbox.telemetry.health import DRAINING, ENDING, STUCK, Health
from flask_outbox.telemetry.systemd import Systemd, address, news, reloading, watchdog

HEALTH = Health(DRAINING, 1, 1000.0, 0.5)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Its end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        yield manager


def told(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("/run/systemd/notify", "/run/systemd/notify"),
        ("@abstract", "\0abstract"),
        ("", None),
        ("vsock:2:1234", None),
    ],
)
def test_the_name_of_the_socket_is_a_path_or_abstract(name: str, found: str | None) -> None:
    assert address(name) == found


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_a_watchdog_counts_when_it_is_set_for_this_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert watchdog(environ, pid=7) == seconds


def test_a_reload_carries_its_moment_in_microseconds() -> None:
    assert reloading(1_234_567_890) == ("RELOADING=1", "MONOTONIC_USEC=1234567")


def test_a_worker_that_goes_round_feeds_the_watchdog() -> None:
    assert news(HEALTH, ready=False) == ("STATUS=Draining.", "WATCHDOG=1")


def test_a_worker_that_is_stuck_does_not_feed_the_watchdog() -> None:
    assert news(replace(HEALTH, tick=STUCK), ready=False) == ("STATUS=Stuck for 30 s.",)


def test_a_worker_that_finishes_feeds_the_watchdog_though_it_goes_round_no_more() -> None:
    assert "WATCHDOG=1" in news(replace(HEALTH, tick=99.0, state=ENDING), ready=False)


def test_a_lost_ledger_is_no_reason_for_the_watchdog() -> None:
    lost = replace(HEALTH, ledger="disk gone")
    assert news(lost, ready=False) == (
        "STATUS=The outbox cannot be read: disk gone",
        "WATCHDOG=1",
    )


def test_the_lines_of_an_error_are_no_messages() -> None:
    lost = replace(HEALTH, ledger="disk\nREADY=1")
    assert news(lost, ready=False)[0] == "STATUS=The outbox cannot be read: disk READY=1"


def test_ready_is_said_once(manager: socket.socket) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": manager.getsockname()}, 1)
    systemd.see(HEALTH)
    systemd.see(HEALTH)
    assert [told(manager)[0], told(manager)[0]] == ["READY=1", "STATUS=Draining."]


def test_ready_is_said_again_when_a_reload_is_done_and_not_before(manager: socket.socket) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": manager.getsockname()}, 1)
    systemd.reload()
    systemd.see(HEALTH)
    systemd.reloaded()
    systemd.see(HEALTH)
    first = [told(manager)[0] for _ in range(3)]
    assert first == ["RELOADING=1", "STATUS=Draining.", "READY=1"]


def test_ready_is_tried_again_when_it_could_not_be_said(tmp_path: Path) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": str(tmp_path / "notify")}, 1)
    systemd.see(HEALTH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as late:
        late.bind(str(tmp_path / "notify"))
        systemd.see(HEALTH)
        assert told(late)[0] == "READY=1"


def test_the_end_is_announced(manager: socket.socket) -> None:
    Systemd({"NOTIFY_SOCKET": manager.getsockname()}, 1).stop()
    assert told(manager)[0] == "STOPPING=1"


def test_signs_of_life_come_twice_in_the_time_that_the_watchdog_waits() -> None:
    assert Systemd({"WATCHDOG_USEC": "4000000"}, 1).interval == 2.0


def test_without_systemd_nobody_asks() -> None:
    systemd = Systemd({}, 1)
    systemd.stop()
    assert (systemd.asks, systemd.interval) == (False, None)
