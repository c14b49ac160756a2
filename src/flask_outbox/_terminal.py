"""What the commands of ``flask mail`` share: how they find the application's mail, and how they print."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

import click
from flask import Flask, current_app

from ._kinds import span as span_of
from .errors import MailError

if TYPE_CHECKING:
    from ._desk import AppDesk
    from ._flask_mail import _Mail
    from ._wiring import Wiring
    from .ledger.reports import ClosedView
    from .ledger.store import Store

P = ParamSpec("P")


def plainly(function: Callable[P, None]) -> Callable[P, None]:
    """Show this package's errors as a line for a person instead of a traceback."""

    @wraps(function)
    def plain(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except MailError as error:
            raise click.ClickException(str(error)) from error

    return plain


def desk_of(app: Flask) -> AppDesk:
    """What stands behind the application's mail."""
    desk: AppDesk | None = app.extensions.get("flask_outbox")
    if desk is None:
        raise click.ClickException(
            "This application has no Mail: call Mail(app) or mail.init_app(app)."
        )
    return desk


def this_desk() -> AppDesk:
    """That of the current application."""
    return desk_of(current_app)


def this_mail() -> _Mail:
    """The current application's mail."""
    return this_desk().state


def outbox() -> tuple[Wiring, Store]:
    """The current application's outbox."""
    wiring = this_desk().wiring
    if wiring.store is None:
        raise click.ClickException(f"With MAIL_ENGINE={wiring.engine!r} there is no outbox.")
    return wiring, wiring.store


def log_nothing() -> None:
    """What the command says itself is not logged to the terminal as well."""
    logger = logging.getLogger("flask_outbox")
    if not logger.hasHandlers():
        logger.addHandler(logging.NullHandler())


def duration(text: str) -> float:
    """The seconds of a number with its unit; for an option of a command."""
    try:
        return span_of(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not like 30d, 12h, 90min or 45s.") from None


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def print_json(value: object) -> None:
    """As one line, so that a line is a document."""
    click.echo(json.dumps(value, ensure_ascii=False))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], empty: str = "Nothing.") -> None:
    """Print rows in columns.

    :param empty: what to print where there are none.
    """
    rows = list(rows)
    if not rows:
        click.echo(empty)
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def clock(moment: float) -> str:
    """A moment, as the clock on the wall shows it."""
    return datetime.fromtimestamp(moment, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """A span of time in its largest unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def closed(one: ClosedView, now: float) -> str:
    """That a lane or transport is closed, or fails, and until when."""
    when = "now" if one.opens is None else f"in {span(one.opens - now)}"
    if not one.failures:
        return f"The limit of {one.lane!r} is spent: its mail goes on {when}."
    times = "once" if one.failures == 1 else f"{one.failures:,} times in a row"
    goes = "its mail waits, and one message tries" if one.opens else "its mail is tried"
    return f"Transport {one.lane!r} failed {times}: {goes} {when}."
