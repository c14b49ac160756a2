"""What docs/semantics.md claims names the test that proves it, and that test is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs/semantics.md").read_text()

#: A term with what is said of it: a line that the one below begins with a colon.
CLAIMS = re.findall(r"^(?![ :#-])([^\n]+)\n(: .*?)(?=\n\n|\Z)", PAGE, re.DOTALL | re.MULTILINE)

_named = re.compile(r"^  - `(\S+?)::(\w+)`$", re.MULTILINE)


@pytest.mark.parametrize(("file", "name"), _named.findall(PAGE))
def test_a_test_that_the_page_names_is_there(file: str, name: str) -> None:
    tree = ast.parse((TESTS / file).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


@pytest.mark.parametrize(("event", "said"), CLAIMS)
def test_a_claim_of_the_page_names_a_test(event: str, said: str) -> None:
    assert _named.search(said), event


def test_the_page_claims_much() -> None:
    assert len(CLAIMS) > 30
