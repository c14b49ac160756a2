"""``flask mail purge``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
from flask.cli import with_appcontext

from ._terminal import duration, json_option, outbox, plainly, print_json
from .rules.states import ENDED

if TYPE_CHECKING:
    from .ledger.retention import Swept
    from .rules.retention import Retention


@click.command("purge")
@click.option(
    "--state",
    type=click.Choice([str(state) for state in ENDED]),
    help="How they ended.",
)
@click.option(
    "--older-than",
    "age",
    type=duration,
    help="Since when they must have ended: 30d, 12h, 90min.",
)
@click.option("--bodies", is_flag=True, help="Only their texts and attachments; the records stay.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
@json_option
@with_appcontext
@plainly
def purge_command(
    state: str | None, age: float | None, bodies: bool, dry_run: bool, as_json: bool
) -> None:
    """Delete messages that are over, with their recipients, attempts and attachments.

    Without --state and --older-than, what the settings MAIL_RETENTION… say, as a worker does by itself. A few of them
    at a time, while workers and sends go on.
    """
    wiring, store = outbox()
    rule = _rule(wiring.retention, state, age, bodies)
    now = store.now()
    found = store.sweeps.count(rule, now)
    if not dry_run:
        found = _carried_out(store.sweeps.whole(rule, now), found.messages + found.bodies)
    if as_json:
        print_json(found._asdict())
        return
    which = "" if state is None else f" {state}"
    would = "would be" if dry_run else "were"
    if found.messages or not bodies:
        click.echo(f"{found.messages:,}{which} messages {would} deleted.")
    if found.bodies or bodies:
        click.echo(f"The contents of {found.bodies:,}{which} messages {would} deleted.")


def _rule(configured: Retention, state: str | None, age: float | None, bodies: bool) -> Retention:
    from .rules.retention import EVER, Retention

    if (state is None) != (age is None):
        raise click.UsageError("Give --state and --older-than together, or neither.")
    if state is None or age is None:
        return Retention({}, configured.bodies, EVER, EVER) if bodies else configured
    whole, emptied = ({}, {state: age}) if bodies else ({state: age}, {})
    return Retention(whole, emptied, EVER, EVER)


def _carried_out(steps: Iterable[Swept], length: int) -> Swept:
    from .ledger.retention import Swept

    total = Swept()
    with click.progressbar(length=length, label="Deleting", file=sys.stderr) as bar:
        for step in steps:
            total = Swept(*map(sum, zip(total, step, strict=True)))
            bar.update(step.messages + step.bodies)
    return total
