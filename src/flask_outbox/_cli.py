"""``flask mail …``."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from types import FrameType
from typing import TYPE_CHECKING, ParamSpec

import click
from flask import current_app
from flask.cli import AppGroup

from ._message import Message
from .errors import DeliveryError, MailError
from .rules.states import State
from .telemetry.cures import cure

if TYPE_CHECKING:
    from ._config import Wiring
    from ._desk import AppDesk
    from ._flask_mail import _Mail
    from .ledger.store import Store

P = ParamSpec("P")

mail_cli = AppGroup("mail", help="Send, watch and mend the application's mail.")

#: Seconds that ``worker --once`` waits for the application's worker thread to give way.
_PATIENCE = 15.0


def plainly(function: Callable[P, None]) -> Callable[P, None]:
    """Show this package's errors as a line for a person instead of a traceback."""

    @wraps(function)
    def plain(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except MailError as error:
            raise click.ClickException(str(error)) from error

    return plain


def _desk() -> AppDesk:
    desk: AppDesk | None = current_app.extensions.get("flask_outbox")
    if desk is None:
        raise click.ClickException(
            "This application has no Mail: call Mail(app) or mail.init_app(app)."
        )
    return desk


def _mail() -> _Mail:
    return _desk().state


def _outbox() -> tuple[Wiring, Store]:
    wiring = _desk().wiring
    if wiring.store is None:
        raise click.ClickException("With MAIL_ENGINE='immediate' there is no outbox.")
    return wiring, wiring.store


@mail_cli.command("worker")
@click.option("--once", is_flag=True, help="Drain what is due, then exit (for cron).")
@plainly
def worker_command(once: bool) -> None:
    """Deliver the mail of the outbox until SIGTERM or Ctrl-C; then finish what is being sent and exit."""
    from .delivery.loop import Loop

    wiring, store = _outbox()
    store.check_schema()
    _log_to_terminal()
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(_work(wiring, once))


async def _work(wiring: Wiring, once: bool) -> None:
    courier, worker = wiring.make_worker()
    if once:
        worker.finish(_PATIENCE)
    click.echo("Draining what is due." if once else "The mail worker runs; Ctrl-C ends it.")
    try:
        with _told_by_signals(worker.stop):
            await worker.run()
    finally:
        await courier.aclose()
    if not worker.drained:
        raise click.ClickException("Another worker drains this outbox and did not give way.")
    click.echo("The mail worker has ended.")


@contextmanager
def _told_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C call ``stop`` on the running loop, also on Windows, where loops know no signals."""
    loop = asyncio.get_running_loop()

    def told(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop)

    before = [(number, signal.signal(number, told)) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _log_to_terminal() -> None:
    """The worker's log goes to the terminal unless the application has set up logging of its own."""
    logger = logging.getLogger("flask_outbox")
    if not logger.hasHandlers():
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
        logger.setLevel(logging.INFO)


@mail_cli.command("send-test")
@click.argument("recipient")
@plainly
def send_test_command(recipient: str) -> None:
    """Send a test message to RECIPIENT now, past the outbox, and say what the server answered."""
    message = Message(
        "Test message",
        recipients=[recipient],
        body="This is a test message from your Flask application.\n",
    )
    started = time.perf_counter()
    try:
        receipt = _mail().send(message, engine="immediate")
    except DeliveryError as error:
        for to, outcome in error.recipients.items():
            click.echo(f"{to}: {outcome.kind}: {outcome}", err=True)
            if advice := cure(outcome):
                click.echo(f"  {advice}", err=True)
        raise click.ClickException("The test message was not delivered.") from error
    if receipt.state == "suppressed":
        raise click.ClickException("Sending is suppressed: TESTING or MAIL_SUPPRESS_SEND is set.")
    took = (time.perf_counter() - started) * 1000
    click.echo(
        f"The server took the message for {recipient} in {took:.0f} ms: {receipt.message_id}"
    )


@mail_cli.command("status")
@plainly
def status_command() -> None:
    """Show how much mail is in which state, what waits, and who works."""
    _outbox()
    status = _mail().status()
    now = time.time()
    _table(("STATE", "MESSAGES"), [(state, str(count)) for state, count in status.counts.items()])
    if status.oldest_due is not None:
        click.echo(f"\nOldest due: {_span(now - status.oldest_due)} ago")
    for transport, reason in status.paused.items():
        click.echo(f"\nTransport {transport!r} is paused: {reason}")
    workers = [
        (str(w.id), w.host, str(w.pid), f"{_span(now - w.beat)} ago") for w in status.workers
    ]
    click.echo("")
    _table(("WORKER", "HOST", "PID", "LAST SEEN"), workers, empty="No worker is running.")


@mail_cli.command("list")
@click.option(
    "--state", type=click.Choice([str(state) for state in State]), help="Only this state."
)
@click.option("--limit", default=20, show_default=True, help="How many at most.")
@plainly
def list_command(state: str | None, limit: int) -> None:
    """List messages, newest first."""
    _outbox()
    rows = [
        (m.id, _clock(m.created), m.state, str(m.tries), _recipients(m.to), m.subject)
        for m in _mail().messages(state=state, limit=limit)
    ]
    _table(("ID", "ACCEPTED", "STATE", "TRIES", "TO", "SUBJECT"), rows, empty="No messages.")


@mail_cli.command("show")
@click.argument("id")
@plainly
def show_command(id: str) -> None:
    """Show one message: its recipients and every attempt."""
    _outbox()
    view = _mail().get(id)
    if view is None:
        raise click.ClickException(f"No message has the id {id}.")
    state = f"{view.state}: {view.reason}" if view.reason else view.state
    click.echo(f"{view.subject}\nfrom {view.sender}, accepted {_clock(view.created)}, {state}")
    click.echo(f"Message-ID {view.message_id}\n")
    _table(
        ("RECIPIENT", "STATE", "ANSWER"),
        [(r.address, r.state, _answer(r.code, r.enhanced, r.text)) for r in view.recipients],
    )
    click.echo("")
    _table(
        ("TRY", "STARTED", "TOOK", "RESULT", "ANSWER"),
        [
            (
                str(a.number),
                _clock(a.started),
                f"{(a.finished - a.started) * 1000:.0f} ms",
                a.kind,
                _answer(a.code, a.enhanced, a.text),
            )
            for a in view.attempts
        ],
        empty="No attempt yet.",
    )


@mail_cli.command("retry")
@click.argument("id")
@plainly
def retry_command(id: str) -> None:
    """Send a message that is held, dead, uncertain or cancelled, as if it were new."""
    _, store = _outbox()
    if not store.retry(id, time.time()):
        raise click.ClickException(f"{id} is waiting, being sent, sent or unknown.")
    click.echo(f"{id} is queued, for those who did not get it.")


@mail_cli.command("cancel")
@click.argument("id")
@plainly
def cancel_command(id: str) -> None:
    """Take a message that waits or is held out of the queue."""
    _, store = _outbox()
    if not store.cancel(id, time.time()):
        raise click.ClickException(f"{id} is being sent, over or unknown.")
    click.echo(f"{id} is cancelled.")


@mail_cli.command("pause")
@click.argument("transport", default="default")
@plainly
def pause_command(transport: str) -> None:
    """Let no more mail out over TRANSPORT; what is sent meanwhile waits."""
    _, store = _outbox()
    store.pause(transport, "paused by hand", by="person")
    click.echo(f"Transport {transport!r} is paused.")


@mail_cli.command("resume")
@click.argument("transport", default="default")
@plainly
def resume_command(transport: str) -> None:
    """Let mail out over TRANSPORT again."""
    _, store = _outbox()
    store.resume(transport)
    click.echo(f"Transport {transport!r} is open.")


@mail_cli.command("init-db")
@plainly
def init_db_command() -> None:
    """Create the outbox's tables, where they are missing."""
    _, store = _outbox()
    store.create_schema()
    click.echo("The outbox's tables are there.")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], empty: str = "Nothing.") -> None:
    rows = list(rows)
    if not rows:
        click.echo(empty)
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def _answer(code: int, enhanced: str, text: str) -> str:
    return " ".join(filter(None, (str(code or ""), enhanced, text)))


def _recipients(addresses: Sequence[str]) -> str:
    more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
    return (addresses[0] if addresses else "") + more


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
