"""The other supported Pythons that are on this machine, and the tests that each of them runs.

As a program: `pythons.py VERSION PYTHON` runs the tests that differ between Pythons, in .venvs/VERSION.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")

#: A warning about somebody's own pip settings is not about this project.
QUIET = ("-qq", "--disable-pip-version-check")

#: Everything in the package; what stays behind are servers, other processes and the tools around it.
TESTS = (
    "tests/mail",
    "tests/rules",
    "tests/ledger",
    "tests/transports",
    "tests/delivery",
    "tests/engines",
    "tests/telemetry",
    "tests/test_config.py",
    "tests/test_extension.py",
    "tests/test_public_api.py",
    "tests/test_roads.py",
    "tests/test_settings.py",
)


def others() -> tuple[dict[str, str], list[str]]:
    """The supported Pythons besides the running one: those that are here, with their paths, and those that are not."""
    running = "{}.{}".format(*sys.version_info)
    wanted = [version for version in SUPPORTED if version != running]
    found = {version: path for version in wanted if (path := find(version))}
    return found, [version for version in wanted if version not in found]


def find(version: str) -> str | None:
    """The path of a Python of this version that runs."""
    return next((path for path in candidates(version) if is_version(path, version)), None)


def candidates(version: str) -> Iterator[str]:
    """Where a Python of this version might be."""
    yield f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    if os.access(pyenv, os.R_OK | os.X_OK):
        yield from map(str, pyenv.glob(f"{version}.*/bin/python"))


def is_version(path: str, version: str) -> bool:
    """Whether this starts, and is what its name says (pyenv's shims may be neither)."""
    command = [path, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def prepare(folder: Path, python: str, requirements: Path) -> Path:
    """An environment with these requirements, made again when they change; gives its Python."""
    inside = folder / "bin/python"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    stamp = folder / f".installed-{wanted}"
    if not stamp.exists():
        subprocess.run([python, "-m", "venv", "--clear", "--without-pip", folder], check=True)
        install(inside, "--require-hashes", "-r", requirements)
        stamp.touch()
    return inside


def install(python: Path, *arguments: str | Path) -> None:
    """Install there with the pip that is here."""
    command = [sys.executable, "-m", "pip", "--python", python, "install", *QUIET, *arguments]
    subprocess.run(command, check=True)


def main(version: str, python: str) -> int:
    """Run the tests with this Python."""
    inside = prepare(ROOT / ".venvs" / version, python, ROOT / "requirements/tests.txt")
    install(inside, "--no-deps", "--no-build-isolation", "--editable", ROOT)
    tests = [path for path in TESTS if (ROOT / path).exists()]
    options = ["-q", "-p", "no:cacheprovider", "--few-databases"]
    command = [str(inside), "-m", "pytest", *options, *tests]
    return subprocess.run(command, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
