"""``./dev campaign``: the long ones. One line a campaign, as the docs show them."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from .campaign import Campaign, Outcome, Plan, seed_of_today

_HEAD = "| database | workers | kills | messages | lost | finished twice | repeated | allowed |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev campaign", description=__doc__)
    parser.add_argument("--database", nargs="+", default=["sqlite", "postgresql", "mariadb"])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--kills", type=int, default=100)
    chosen = parser.parse_args()
    seed, broken = seed_of_today(), 0
    print(_HEAD, "|---" * 8 + "|", sep="\n", flush=True)
    for database in chosen.database:
        for workers in chosen.workers:
            with tempfile.TemporaryDirectory(prefix="flask-outbox-campaign-") as folder:
                outcome = Campaign(
                    Plan(database, workers, chosen.kills, seed), Path(folder)
                ).fight()
            print(_line(outcome), flush=True)
            broken += not outcome.kept
    return 1 if broken else 0


def _line(outcome: Outcome) -> str:
    plan = outcome.plan
    cells = (
        plan.database,
        plan.workers,
        " ".join(f"{count} {strike}" for strike, count in sorted(outcome.strikes.items())),
        outcome.accepted,
        outcome.lost,
        outcome.finished_twice,
        outcome.repeated,
        outcome.allowed,
    )
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    raise SystemExit(main())
