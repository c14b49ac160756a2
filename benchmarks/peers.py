"""Who is here to be measured against. Who is not is shown as missing, never left out."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from . import ROOT

# Servers live where a user's PATH does not look, or where ``./dev test`` unpacked them. Debian keeps several versions
# of PostgreSQL beside each other.
_PLACES = ["/usr/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin")), ROOT / ".servers/bin"]
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *map(str, _PLACES)])


#: Where ``./dev bench`` puts what runs on node.
NODE_MODULES = ROOT / ".servers/node/node_modules"

#: Whether ours are measured alone, as if nobody else were here.
alone = False


def here(*names: str) -> bool:
    """Whether these are here, whoever is measured."""
    return all(map(_installed, names))


def installed(*names: str) -> bool:
    """Whether these Python packages, programs (``bin:redis-server``) and packages of node are all here."""
    return not alone and all(map(_installed, names))


def _installed(name: str) -> bool:
    kind, _, program = name.rpartition(":")
    if kind == "bin":
        return shutil.which(program) is not None
    if kind == "node":
        return (NODE_MODULES / program).is_dir()
    return importlib.util.find_spec(name) is not None
