"""Which machine and process this is, for the rows of workers."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Host:
    """Where process ids have a meaning.

    :param boot_id: of this boot and this namespace of process ids, so that two containers of one name do not judge
        each other's processes; "" where the system does not tell.
    """

    name: str
    boot_id: str


@cache
def this_host() -> Host:
    """The machine this process runs on."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return Host(socket.gethostname(), "")
    return Host(socket.gethostname(), f"{boot} {namespace}")


def alive(pid: int) -> bool:
    """Whether a process of this host lives, as far as can be told without touching it."""
    if sys.platform == "win32":
        return True  # there, os.kill sends what it is given
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _ended(pid)


def _ended(pid: int) -> bool:
    """Whether it is only kept until its parent asks how it ended, which that of an orphan may never do."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False  # no Linux
    return status.rpartition(b") ")[2][:1] == b"Z"
