"""Which machine and process this is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flask_outbox.ledger.host import alive, this_host


def test_this_process_is_alive() -> None:
    assert alive(os.getpid())


@pytest.mark.skipif(sys.platform == "win32", reason="cannot be told there")
def test_a_process_that_has_ended_is_not() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert not alive(gone.pid)


@pytest.mark.skipif(sys.platform == "win32", reason="cannot be told there")
def test_a_process_of_another_user_is() -> None:
    assert alive(1)


@pytest.mark.skipif(not Path("/proc/self/ns/pid").is_symlink(), reason="only Linux tells")
def test_a_boot_and_its_namespace_are_known_and_fit_their_column() -> None:
    boot_id = this_host().boot_id
    assert "pid:[" in boot_id
    assert len(boot_id) <= 64


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells")
def test_one_that_has_ended_is_dead_though_nobody_has_asked_how() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert not alive(ended.pid)
