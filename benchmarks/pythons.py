"""Python processes of their own, started as an installed application is: from compiled files."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from servers.process import Process

from . import ROOT


def finished(
    arguments: list[str], environment: Mapping[str, str] | None = None
) -> tuple[float, str]:
    """Run one to its end.

    :returns: the seconds from its start to its end, and what it wrote.
    """
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **_compiled(), **(environment or {})},
        capture_output=True,
        text=True,
    )
    took = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return took, done.stdout


def running(
    arguments: list[str], environment: Mapping[str, str], log: Path, *ports: int
) -> Process:
    """Start one that runs until it is stopped; when this returns, it listens on these ports."""
    command = [sys.executable, *arguments]
    return Process(command, ports=ports, log=log, env={**_compiled(), **environment}, cwd=ROOT)


@cache
def _compiled() -> Mapping[str, str]:
    """A place for compiled files, where the environment does not want them beside their sources."""
    if not sys.dont_write_bytecode:
        return {}
    room = tempfile.TemporaryDirectory(prefix="flask-outbox-bench-")
    atexit.register(room.cleanup)
    return {"PYTHONPYCACHEPREFIX": room.name, "PYTHONDONTWRITEBYTECODE": ""}
