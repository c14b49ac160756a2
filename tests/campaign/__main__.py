"""``./dev campaign``: the long ones. One line a campaign, as the docs show them."""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .campaign import Campaign, Outcome, Plan, seed_of_today
from .databases import UNSOUND
from .faults import FAULTS

_HEAD = "| database | workers | strikes | messages | lost | finished twice | repeated | allowed |"


def main() -> int:
    if "--engine" in sys.argv:
        from .tasks import main as main_of_tasks

        return main_of_tasks()
    parser = argparse.ArgumentParser(prog="./dev campaign", description=__doc__)
    parser.add_argument("--database", nargs="+", default=["sqlite", "postgresql", "mariadb"])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--kills", type=int, default=100, help="and a share of each other fault")
    parser.add_argument(
        "--faults",
        nargs="+",
        metavar="NAME[=COUNT]",
        help=f"only these, of {', '.join(FAULTS)}",
    )
    chosen, seed, broken = parser.parse_args(), seed_of_today(), 0
    try:
        plans = [
            Plan(database, workers, _counts(chosen.faults or _sound(database), chosen.kills), seed)
            for database, workers in itertools.product(chosen.database, chosen.workers)
        ]
    except ValueError as error:
        parser.error(str(error))
    print(_HEAD, "|---" * 8 + "|", sep="\n", flush=True)
    for plan in plans:
        with tempfile.TemporaryDirectory(prefix="flask-outbox-campaign-") as parent:
            folder = Path(parent, "campaign")
            folder.mkdir()
            outcome = Campaign(plan, folder).fight()
        print(_line(outcome), flush=True)
        print(_rest(outcome), file=sys.stderr, flush=True)
        broken += not outcome.kept
    return 1 if broken else 0


def _sound(database: str) -> Sequence[str]:
    """Those that every promise is kept under."""
    return [name for name in FAULTS if name not in UNSOUND.get(database, ())]


def _counts(named: Sequence[str], kills: int) -> Mapping[str, int]:
    """:raises ValueError: there is none of that name, or its count is no number."""
    counts = {}
    for word in named:
        name, _, count = word.partition("=")
        if name not in FAULTS:
            raise ValueError(f"no fault is called {name!r}")
        counts[name] = int(count) if count else max(1, int(kills * FAULTS[name].share))
    return counts


def _line(outcome: Outcome) -> str:
    plan = outcome.plan
    cells = (
        plan.database,
        plan.workers,
        ", ".join(f"{count} {strike}" for strike, count in sorted(outcome.strikes.items())),
        outcome.accepted,
        outcome.lost,
        outcome.finished_twice,
        outcome.repeated,
        outcome.allowed,
    )
    return f"| {' | '.join(map(str, cells))} |"


def _rest(outcome: Outcome) -> str:
    """What the table has no room for."""
    dropped = " ".join(f"{step} {count}" for step, count in sorted(outcome.dropped.items()))
    return (
        f"  {'kept' if outcome.kept else 'BROKEN'}: {outcome.refused} sends refused, {outcome.unsaid} sent unsaid,"
        f" {outcome.differing} differ, {outcome.left} left; dropped: {dropped or 'none'};"
        f" not here: {', '.join(outcome.left_out) or 'none'}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
