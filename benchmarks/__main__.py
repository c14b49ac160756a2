"""``python -m benchmarks [NAME …] [--quick]``, from the root of the checkout."""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys

from . import databases, peers
from .scale import FULL, QUICK, TINY, Scale
from .table import HEAD, Row, line

#: The benchmarks in the order of their rows, each a module here.
NAMES = (
    "compose",
    "send",
    "send_many",
    "smtp",
    "far",
    "round_trips",
    "drain",
    "servers",
    "queues",
    "polite",
    "backlog",
    "imports",
)


def main() -> int:
    """Run, print the table row by row, and return 1 where a gate is missed."""
    arguments = _arguments()
    scale = TINY if arguments.tiny else QUICK if arguments.quick else FULL
    if shutil.which("smtp-sink") is None:
        sys.exit(
            "The benchmarks need smtp-sink, which comes with Postfix: apt-get install postfix."
        )
    peers.alone = arguments.alone
    databases.chosen = arguments.database or tuple(databases.NAMES)
    print(line(HEAD), flush=True)
    rows = [row for name in arguments.names or NAMES for row in _run(name, scale)]
    missed = sum(row.verdict == "NOT" for row in rows)
    print(f"\n{missed} gates missed." if missed else "\nEvery gate that could be measured holds.")
    return 1 if missed and not arguments.tiny else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds")
    parser.add_argument(
        "--database",
        action="append",
        choices=tuple(databases.NAMES),
        help="only with this one, where several are measured; all if not given",
    )
    parser.add_argument("--alone", action="store_true", help="measure no peers")
    parser.add_argument(
        "--tiny", action="store_true", help="only whether everything runs; no figure means anything"
    )
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in NAMES:
            parser.error(f"{name} is not one of: {', '.join(NAMES)}")
    return arguments


def _run(name: str, scale: Scale) -> list[Row]:
    rows = []
    for row in importlib.import_module(f".{name}", __package__).run(scale):
        print(line(row.cells()), flush=True)
        rows.append(row)
    return rows


if __name__ == "__main__":
    sys.exit(main())
