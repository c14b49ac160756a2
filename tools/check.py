"""Everything that `./dev test` checks, each step with its time; `./dev lint` and `./dev docs` are parts of it.

Steps run a few at a time and are printed when they end; the tests run last, before everyone's eyes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import pythons

ROOT = Path(__file__).parents[1]

#: Steps at a time, and processes of the tests: one more than work at a time, as each often waits for a server.
AT_ONCE = min(os.cpu_count() or 1, 4) + 1

PROGRAMS = Path(sys.executable).parent

LINT = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy --strict": ["mypy", "--strict"],
    "pyright": ["pyright"],
    "public types": ["python", "tools/public_types.py"],
    "import contracts": ["lint-imports", "--no-cache"],
}

DOCS_BUILD = "docs/_build"
DOCS = {
    "docs": ["python", "-m", "sphinx", "-q", "-n", "-W", "--keep-going", "docs", DOCS_BUILD],
}


@dataclass(frozen=True, slots=True)
class Result:
    """How a step ended."""

    name: str
    passed: bool
    seconds: float
    output: str = ""

    def __str__(self) -> str:
        return f"{'ok    ' if self.passed else 'FAILED'} {self.name}  {self.seconds:.1f} s"


def run(name: str, command: list[str]) -> Result:
    """Run a step and keep what it prints."""
    start = time.monotonic()
    done = subprocess.run(
        [str(PROGRAMS / command[0]), *command[1:]],
        cwd=ROOT,
        # pyright asks the first Python on PATH what is installed.
        env={**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Result(name, done.returncode == 0, time.monotonic() - start, done.stdout)


def run_all(steps: dict[str, list[str]]) -> Iterator[Result]:
    """Run the steps; what a failed one printed is shown."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [pool.submit(run, name, command) for name, command in steps.items()]
        for future in as_completed(running):
            result = future.result()
            print(result if result.passed else f"{result}\n{result.output}", flush=True)
            yield result


def run_tests() -> Result:
    """Run pytest, seen by everyone."""
    start = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(AT_ONCE), "--dist", "worksteal"]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    return Result("pytest", done.returncode == 0, time.monotonic() - start)


def servers_not_here() -> list[str]:
    """What the tests' plugin noted down (tests/servers/plugin.py)."""
    noted = ROOT / ".pytest_cache/v/servers/not-run"
    lines: list[str] = json.loads(noted.read_text()) if noted.exists() else []
    return lines


def main() -> int:
    """Run what the command line asks for: "lint", "docs", or everything."""
    if sys.argv[1:] in (["lint"], ["docs"]):
        results = list(run_all(LINT if sys.argv[1] == "lint" else DOCS))
        passed = all(result.passed for result in results)
        if passed and sys.argv[1] == "docs":
            print(ROOT / DOCS_BUILD / "index.html")
        return int(not passed)
    here, absent = pythons.others()
    # They take longest, and much of it they wait: the others run beside them.
    steps = {
        f"Python {version}": ["python", "tools/pythons.py", version, python]
        for version, python in here.items()
    }
    steps |= LINT | DOCS | {"the wheel": ["python", "tools/try_wheel.py"]}
    results = [*run_all(steps), run_tests()]
    failed = [result.name for result in results if not result.passed]
    print(*results, sep="\n")
    missing = [f"Python {version} is not here: pyenv install {version}" for version in absent]
    for line in servers_not_here() + missing:
        print(f"NOT RUN: {line}")
    print(f"FAILED: {', '.join(failed)}" if failed else "Everything passed.")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
