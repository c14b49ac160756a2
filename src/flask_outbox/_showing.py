"""The commands that show what is in the outbox: ``flask mail status``, ``list`` and ``show``."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from flask.cli import with_appcontext

from ._terminal import (
    clock,
    closed,
    duration,
    json_option,
    outbox,
    plainly,
    print_json,
    span,
    table,
    this_mail,
)
from .rules.states import State
from .transports.dsn import is_url

if TYPE_CHECKING:
    from .ledger.reports import Status
    from .ledger.store import Store


@click.command("status")
@click.option("--watch", is_flag=True, help="Again each second, until Ctrl-C.")
@click.option("--check", is_flag=True, help="For monitoring: tell by the exit code.")
@click.option(
    "--overdue",
    type=duration,
    default="5min",
    show_default=True,
    help="How long a message must have been due to be overdue.",
)
@json_option
@with_appcontext
@plainly
def status_command(watch: bool, check: bool, overdue: float, as_json: bool) -> None:
    """Show how much mail is in which state, what waits, and who works.

    With --check it exits with 0 when all is well, 1 when a message is overdue, 2 when the worker is silent.
    """
    wiring, store = outbox()
    if watch and check:
        raise click.UsageError("--watch and --check cannot both be given.")

    def show() -> Status:
        status = this_mail().status()
        if as_json:
            print_json(asdict(status))
        else:
            _print_status(status, store, wiring.transports, time.time())
        return status

    if watch:
        _again_and_again(show)
        return
    status = show()
    if check:
        external = wiring.settings.worker == "external"
        click.get_current_context().exit(_alarm(status, time.time(), overdue, external))


def _again_and_again(show: Callable[[], object]) -> None:
    with suppress(KeyboardInterrupt):
        while True:
            click.clear()
            show()
            time.sleep(1)


def _alarm(status: Status, now: float, overdue: float, external: bool) -> int:
    """The exit code: a worker thread that nobody needed yet is not missed."""
    late = status.overdue(now, overdue)
    missed = external or late or bool(status.workers)
    return 2 if missed and not status.working(now) else int(late)


def _print_status(status: Status, store: Store, configured: Sequence[str], now: float) -> None:
    from .ledger.store import EVERY

    counts = [(state, str(count)) for state, count in status.counts.items()]
    table(("STATE", "MESSAGES"), counts, empty=_none_in(store))
    waiting = Counter(dict.fromkeys(configured, 0))
    for lane in status.lanes:
        waiting[lane.transport] += lane.waiting
    if len(waiting) > 1:
        click.echo("")
        rows = [
            (name, str(count), _treated(name, status, configured))
            for name, count in waiting.items()
        ]
        table(("TRANSPORT", "WAITING", "MAIL IS"), rows)
    if status.oldest_due is not None:
        click.echo(f"\nOldest due: {span(now - status.oldest_due)} ago")
    for transport, reason in status.paused.items():
        what = "Everything" if transport == EVERY else f"Transport {transport!r}"
        click.echo(f"\n{what} is paused: {reason}")
    if status.paused:
        click.echo("Mend the cause, then run 'flask mail resume', with --all for everything.")
    for one in status.closed:
        cure = " 'flask mail doctor' says what is wrong." if one.failures else ""
        click.echo(f"\n{closed(one, now)}{cure}")
    workers = [(str(w.id), w.host, str(w.pid), f"{span(now - w.beat)} ago") for w in status.workers]
    click.echo("")
    table(("WORKER", "HOST", "PID", "LAST SEEN"), workers, empty="No worker is running.")


def _treated(transport: str, status: Status, configured: Sequence[str]) -> str:
    """What is done with the mail for it."""
    from .ledger.store import EVERY

    if transport in status.paused or EVERY in status.paused:
        return "kept: paused"
    return "sent" if transport in configured or is_url(transport) else "kept: not configured"


@click.command("list")
@click.option(
    "--state",
    type=click.Choice(
        [*map(str, State), "scheduled", "retrying", "partly sent", "expired", "suppressed"]
    ),
    help="Only this state.",
)
@click.option("--limit", default=20, show_default=True, help="How many at most.")
@json_option
@with_appcontext
@plainly
def list_command(state: str | None, limit: int, as_json: bool) -> None:
    """List messages, newest first."""
    _, store = outbox()
    found = this_mail().messages(state=state, limit=limit)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    rows = [
        (m.id, clock(m.created), m.state, str(m.tries), _recipients(m.to), m.subject) for m in found
    ]
    empty = "No messages." if state else _none_in(store)
    table(("ID", "ACCEPTED", "STATE", "TRIES", "TO", "SUBJECT"), rows, empty=empty)


@click.command("show")
@click.argument("id")
@json_option
@with_appcontext
@plainly
def show_command(id: str, as_json: bool) -> None:
    """Show one message: its recipients, every attempt, and what was said at the last one if it failed."""
    outbox()
    view = this_mail().get(id)
    if view is None:
        raise click.ClickException(f"No message has the id {id}.")
    if as_json:
        print_json(asdict(view))
        return
    state = f"{view.state}: {view.reason}" if view.reason else view.state
    if view.state in {"scheduled", "retrying"}:
        state += f", due {clock(view.due)}"
    click.echo(f"{view.subject}\nfrom {view.sender}, accepted {clock(view.created)}, {state}")
    click.echo(f"Message-ID {view.message_id}\n")
    table(
        ("RECIPIENT", "STATE", "ANSWER"),
        [(r.address, r.state, _answer(r.code, r.enhanced, r.text)) for r in view.recipients],
    )
    click.echo("")
    table(
        ("TRY", "STARTED", "TOOK", "RESULT", "ANSWER"),
        [
            (
                str(a.number),
                clock(a.started),
                f"{max(0.0, a.finished - a.started) * 1000:.0f} ms",
                a.kind,
                _answer(a.code, a.enhanced, a.text),
            )
            for a in view.attempts
        ],
        empty="No attempt yet.",
    )
    if view.attempts and (transcript := view.attempts[-1].transcript):
        click.echo(
            f"\nWhat was said at try {view.attempts[-1].number}, with the seconds:\n{transcript}"
        )


def _none_in(store: Store) -> str:
    """That there is nothing, and where: it may be another file than the application's."""
    return f"No messages in {store.path or 'the outbox'}."


def _answer(code: int, enhanced: str, text: str) -> str:
    return " ".join(filter(None, (str(code or ""), enhanced, text)))


def _recipients(addresses: Sequence[str]) -> str:
    more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
    return (addresses[0] if addresses else "") + more
