"""The house is as STYLE draws it: its rooms, who may know whom, and what stays outside the repository."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "src/flask_outbox"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
FLOORS, FREE_OF_FLASK = CONTRACTS[0], CONTRACTS[1]

#: What no file may hold: hosts of package registries, and folders of somebody's machine.
FOREIGN = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(org|com)|debian\.org/debian"
    r"|(?<![\w.~-])/(work|opt|Users)/\w|/root/\.?\w|/home/(?!dev\b)\w"
)


def rooms() -> set[str]:
    """What stands on the ground floor of the package: folders and files."""
    found = {
        path.stem
        for path in HOUSE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    return found - {"__init__"}


def kept_files() -> Iterator[Path]:
    """Every file of the project but what .gitignore names."""
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split()} | {".git"}
    folders = [ROOT]
    while folders:
        for path in folders.pop().iterdir():
            if path.name in ignored or path.suffix == ".pyc" or path.is_symlink():
                continue
            if path.is_dir():
                folders.append(path)
            else:
                yield path


def test_imports_keep_the_contracts() -> None:
    pytest.importorskip("importlinter")
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c()",
        "--no-cache",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_room_has_its_floor() -> None:
    listed = set(re.findall(r"\w+", " ".join(FLOORS["layers"])))
    assert rooms() <= listed


def test_no_floor_is_listed_without_a_room_unless_it_is_optional() -> None:
    firm = re.sub(r"\(\w+\)", "", " ".join(FLOORS["layers"]))
    assert set(re.findall(r"\w+", firm)) <= rooms()


def test_every_room_below_the_face_is_held_free_of_flask() -> None:
    below = {room for room in rooms() if not room.startswith("_")} - {
        "web",
        "testing",
        "flask_mail",
        "tasks",
    }
    assert below == {name.removeprefix("flask_outbox.") for name in FREE_OF_FLASK["source_modules"]}


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"sqlalchemy", "sqlite3", "asyncio", "ssl", "smtplib", "celery", "multiprocessing"}
    program = "import sys, flask; before = set(sys.modules); import flask_outbox; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not heavy & set(done.stdout.split())


def test_no_file_names_a_registry_or_a_folder_of_somebodys_machine() -> None:
    found = []
    for path in kept_files():
        if path == Path(__file__):
            continue
        text = path.read_text(errors="replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in FOREIGN.finditer(text)]
    assert found == []
