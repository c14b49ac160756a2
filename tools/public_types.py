"""Whether everything a user can reach from `import flask_outbox` has a type that every checker reads alike.

pyright's --verifytypes looks at the inner rooms too, where a type may well be inferred; those are not held to it.
"""

from __future__ import annotations

import json
import subprocess
import sys

import flask_outbox


def public_names() -> tuple[str, ...]:
    """Where the names of ``__all__`` are defined, as pyright calls them."""
    things = {name: getattr(flask_outbox, name) for name in flask_outbox.__all__}
    return tuple(
        f"{thing.__module__}.{thing.__qualname__}"
        if isinstance(thing, type)
        else f"flask_outbox.signals.{name}"
        for name, thing in things.items()
    )


def main() -> int:
    """Print what is unclear, and end with 1 where something is."""
    command = ["pyright", "--ignoreexternal", "--outputjson", "--verifytypes", "flask_outbox"]
    answer = subprocess.run(command, capture_output=True, text=True)
    symbols = json.loads(answer.stdout)["typeCompleteness"]["symbols"]
    owners = public_names()
    public = [
        symbol
        for symbol in symbols
        if symbol["name"] in owners
        or symbol["name"].startswith(tuple(f"{name}." for name in owners))
    ]
    unclear = [s for s in public if s["isTypeAmbiguous"] or not s["isTypeKnown"]]
    for symbol in unclear:
        print(symbol["name"], *(note["message"] for note in symbol["diagnostics"]), sep="\n    ")
    print(f"{len(public)} public names, {len(unclear)} of them unclear")
    return int(bool(unclear) or len(public) < len(owners))


if __name__ == "__main__":
    sys.exit(main())
