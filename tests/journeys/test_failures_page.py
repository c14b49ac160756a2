"""The page for those whose mail did not arrive quotes what the code says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import flask_outbox

PAGE = Path(__file__).parents[2] / "docs" / "not-arrived.md"
SECTION = PAGE.read_text().partition("## 5. What the log says")[2].partition("\n## ")[0]
QUOTED = [
    words
    for row in re.findall(r"^\| (`.*?) \|", SECTION, re.MULTILINE)
    for words in re.findall(r"`(.*?)`", row)
]


@pytest.fixture(scope="module")
def said() -> str:
    """Every text in the code."""
    files = Path(flask_outbox.__file__).parent.rglob("*.py")
    return "\n".join(
        node.value
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@pytest.mark.parametrize("words", QUOTED)
def test_what_the_page_quotes_is_what_the_code_says(said: str, words: str) -> None:
    assert words in said


def test_the_page_quotes_something() -> None:
    assert len(QUOTED) > 15
