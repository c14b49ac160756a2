"""A missing server is listed at home and a failure in CI."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
from _pytest.assertion.rewrite import AssertionRewritingHook
from playwright.sync_api import Browser

from . import databases, plugin

TESTS = Path(__file__).parents[1]

_BARE = """
import shutil
shutil.which = lambda *args, **kwargs: None
"""

_ASKING = """
import pytest

def test_a(smtp_sink): pass
def test_b(smtp_sink): pass
@pytest.mark.server("smtp-sink")
def test_c(): pass
def test_d(): pass
"""


def run_without_servers(folder: Path, ci: str, *options: str) -> tuple[int, str]:
    """A pytest of its own in a folder of its own, where no program is found."""
    (folder / "conftest.py").write_text((TESTS / "conftest.py").read_text() + _BARE)
    (folder / "test_asking.py").write_text(_ASKING)
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {TESTS}\nmarkers = server(name)\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout


def test_at_home_a_missing_server_is_listed_once_with_the_command_that_enables_it(
    tmp_path: Path,
) -> None:
    code, output = run_without_servers(tmp_path, ci="")
    assert (
        "NOT RUN: 3 tests that need smtp-sink: smtp-sink not found: sudo apt-get install postfix"
        in output
    )
    assert "1 passed, 3 skipped" in output
    assert code == 0


def test_in_ci_a_missing_server_is_a_failure(tmp_path: Path) -> None:
    code, output = run_without_servers(tmp_path, ci="true")
    assert "Server not here: smtp-sink: smtp-sink not found" in output
    assert "1 passed" in output
    assert code == 1


def test_the_list_survives_parallel_runs(tmp_path: Path) -> None:
    _, output = run_without_servers(tmp_path, "", "-n", "1")
    assert "3 tests that need smtp-sink" in output


def test_a_server_that_needs_root_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert plugin.SERVERS["postfix"].obstacle() == "starts as root only: sudo ./dev test"


@pytest.mark.parametrize("wanted", ["sqlite", "postgresql+psycopg", "postgres"])
def test_few_databases_are_enough_for_most(wanted: str, request: pytest.FixtureRequest) -> None:
    assert not databases.left_out(request.node)


@pytest.mark.parametrize("wanted", ["postgresql+psycopg2", "mysql+pymysql", "mariadb"])
def test_few_databases_leave_out_the_others(wanted: str, request: pytest.FixtureRequest) -> None:
    assert databases.left_out(request.node)


def test_a_helper_that_asserts_says_what_it_saw() -> None:
    helpers = [
        ".".join(path.relative_to(TESTS).with_suffix("").parts)
        for path in TESTS.rglob("*.py")
        if not path.name.startswith("test_") and re.search("^ +assert ", path.read_text(), re.M)
    ]
    silent = [
        name
        for name in helpers
        if not isinstance(getattr(find_spec(name), "loader", None), AssertionRewritingHook)
    ]
    assert "ways.web" in helpers
    assert silent == []


def test_the_tests_processes_load_no_commands_of_other_libraries() -> None:
    """Those of Flask-AppBuilder alone take as long as all the rest: tests/*.dist-info hide them."""
    assert [point.name for point in entry_points(group="flask.commands")] == ["mail"]


def test_chromium_shows_a_page(chromium: Browser) -> None:
    page = chromium.new_page()
    page.set_content("<h1>Check your inbox.</h1>")
    assert page.inner_text("h1") == "Check your inbox."
