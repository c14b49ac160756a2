"""What people do with Flask-Mail beside its quickstart: the same file of tests passes on both, and sends the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from libraries.deployment import run_tests
from libraries.faces import INSTALLED, ORIGINAL

RECIPIENTS = {
    *(f"bulk{number}@example.org" for number in range(12)),
    *("last@example.org", "reader@example.org", "extensions@example.org", "files@example.org"),
    *("told@example.org", "state@example.org"),
}


@pytest.mark.parametrize("face", [ORIGINAL, INSTALLED])
def test_flask_mails_habits_go_on_working(face: str, tmp_path: Path) -> None:
    messages = run_tests("habits_in_tests.py", tmp_path, FACE=face)
    assert {message.recipients[0] for message in messages} == RECIPIENTS
