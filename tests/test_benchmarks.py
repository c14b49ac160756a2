"""The benchmarks still run; what they measure at this size says nothing, but what they count does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def table() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--tiny", "--alone"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.server("smtp-sink")
@pytest.mark.parametrize(
    "what",
    [
        "compose",
        "mail.send()",
        "send_many()",
        "SMTP, CPU",
        "SMTP 50 ms away",
        "round trips",
        "durable drain",
        "request while mail is sent",
        "claim",
        "worker memory",
        "import",
    ],
)
def test_each_benchmark_has_its_row(table: list[str], what: str) -> None:
    assert any(row.startswith(what) for row in table)


@pytest.mark.server("smtp-sink")
def test_a_message_on_a_warm_connection_takes_no_more_round_trips_than_promised(
    table: list[str],
) -> None:
    (row,) = (row for row in table if row.startswith("round trips"))
    assert row.endswith("ok")
