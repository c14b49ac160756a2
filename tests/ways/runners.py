"""Which runner shows the claims of which kind of way."""

from __future__ import annotations

from ways.runner import Runner
from ways.scripts import Multiprocessing, Script, Subinterpreter, Xdist
from ways.service import Once, Service, Supervised
from ways.web import Web

RUNNERS: dict[str, type[Runner]] = {
    "web": Web,
    "script": Script,
    "multiprocessing": Multiprocessing,
    "subinterpreter": Subinterpreter,
    "xdist": Xdist,
    "worker": Service,
    "supervised worker": Supervised,
    "worker once": Once,
}
