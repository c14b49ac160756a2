"""The benchmarks still run; what they measure at this size says nothing, but what they count does."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from flask_outbox.ledger.store import Store
from ledger.conftest import claim

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def table() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--tiny", "--alone", "--database", "postgresql"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.server("smtp-sink")
@pytest.mark.server("postgres")
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
        "celery, Redis",
        "mail.send(), celery",
        "drain, PostgreSQL, 2 workers",
        "request while mail is sent",
        "claim",
        "worker memory",
        "import",
    ],
)
def test_each_benchmark_has_its_row(table: list[str], what: str) -> None:
    assert any(row.startswith(what) for row in table)


@pytest.mark.server("smtp-sink")
@pytest.mark.server("postgres")
def test_a_message_on_a_warm_connection_takes_no_more_round_trips_than_promised(
    table: list[str],
) -> None:
    (row,) = (row for row in table if row.startswith("round trips"))
    assert row.endswith("ok")


def test_an_outbox_is_filled_with_letters_that_can_be_claimed(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any database, behind others that were sent."""
    monkeypatch.syspath_prepend(ROOT)
    filling, messages = import_module("benchmarks.filling"), import_module("benchmarks.messages")
    for count in (7, 5):
        filling.multiply(database, filling.fill(database, 1, messages.SHORT), count - 1)
        if count == 7:
            filling.end(database)
    filling.settle(database)
    store = Store(database)
    claims = claim(store, now=time.time())
    store.dispose()
    assert len({one.letter.message_id for one in claims}) == len(claims) == 5
    assert {one.letter.subject for one in claims} == {messages.SHORT["subject"]}
