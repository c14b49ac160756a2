"""The same messages by Flask-Mail and by us: a parser reads the same in them, but for what is listed here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .written import MESSAGES

_ONE_LEVEL = "versions of the text alone are not wrapped into a multipart/mixed"

#: Message -> what a parser reads in another way there -> the reason.
DIFFERENCES = {
    "beyond ASCII": {"tree": _ONE_LEVEL},
    "text and html": {"tree": _ONE_LEVEL},
    "alternatives": {"tree": _ONE_LEVEL},
    "alternative alone": {"tree": _ONE_LEVEL},
    "html alone": {"tree": _ONE_LEVEL, "parts": "a text is made of the HTML; theirs is empty"},
    "names": {"headers": "a comma in a name is quoted; theirs makes two recipients of it"},
    "attachment of text": {"parts": "its charset is named"},
    "attachment without name": {"parts": "it is an attachment all the same"},
    "picture in the html": {"tree": "it stands beside the HTML, in a multipart/related"},
}


def by(whom: str) -> Any:
    program = Path(__file__).with_name("written.py")
    done = subprocess.run([sys.executable, program, whom], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def read() -> dict[str, Any]:
    return {"ours": by("ours"), "theirs": by("theirs")}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_parser_reads_the_same_but_for_the_listed_differences(read: Any, name: str) -> None:
    ours, theirs = read["ours"][name], read["theirs"][name]
    differ = {place for place in ours if ours[place] != theirs[place]}
    assert differ == DIFFERENCES.get(name, {}).keys()


@pytest.mark.parametrize("name", MESSAGES)
def test_as_bytes_reads_like_what_is_sent(read: Any, name: str) -> None:
    assert read["ours"][name]["as_bytes"]


def test_each_listed_difference_is_one_of_a_message() -> None:
    assert DIFFERENCES.keys() <= MESSAGES.keys()
