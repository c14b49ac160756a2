"""``flask mail …``."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import TYPE_CHECKING

import click
from flask.cli import AppGroup, ScriptInfo

from ._message import Message
from ._showing import list_command, show_command, status_command
from ._terminal import (
    duration,
    json_option,
    log_nothing,
    outbox,
    plainly,
    print_json,
    this_desk,
    this_mail,
)
from .errors import DeliveryError
from .mail.address import parse_address
from .rules.findings import Level, worst
from .rules.staging import Staging
from .rules.states import ENDED
from .telemetry.cures import cure

if TYPE_CHECKING:
    from ._config import Wiring

mail_cli = AppGroup("mail", help="Send, watch and mend the application's mail.")

#: Seconds that ``worker --once`` waits for the application's worker thread to give way.
_PATIENCE = 15.0


@mail_cli.command("worker")
@click.option("--once", is_flag=True, help="Drain what is due, then exit (for cron).")
@plainly
def worker_command(once: bool) -> None:
    """Deliver the mail of the outbox until SIGTERM or Ctrl-C; then finish what is being sent and exit."""
    from .delivery.loop import new_loop

    wiring, store = outbox()
    store.check_schema()
    _log_to_terminal()
    with asyncio.Runner(loop_factory=new_loop) as runner:
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
    log_nothing()
    started = time.perf_counter()
    try:
        receipt = this_mail().send(message, engine="immediate")
    except DeliveryError as error:
        for to, outcome in error.recipients.items():
            click.echo(f"{to}: {outcome.kind}: {outcome}", err=True)
            if advice := cure(outcome):
                click.echo(f"  {advice}", err=True)
        raise click.ClickException("The test message was not delivered.") from error
    if receipt.state == "suppressed":
        raise click.ClickException("Sending is suppressed: TESTING or MAIL_SUPPRESS_SEND is set.")
    took = (time.perf_counter() - started) * 1000
    click.echo(f"{_taken(recipient)} in {took:.0f} ms: {receipt.message_id}")


def _taken(recipient: str) -> str:
    """Who took a message for that recipient, and where it went instead."""
    settings = this_desk().wiring.settings
    scheme = (settings.url or "smtp").strip().partition("://")[0]
    taker = "The server" if scheme.startswith(("smtp", "lmtp")) else f"No server, but {scheme}://"
    staging = Staging(settings.redirect_to, settings.allowed_recipients)
    meant = (parse_address(recipient, "recipients").addr,)
    instead = "" if (to := staging.envelope(meant)) == meant else f", redirected to {', '.join(to)}"
    return f"{taker} took the message for {recipient}{instead}"


for _command in (status_command, list_command, show_command):
    mail_cli.add_command(_command)


@mail_cli.command("retry")
@click.argument("id")
@plainly
def retry_command(id: str) -> None:
    """Send a message that is held, dead, uncertain or cancelled, as if it were new."""
    _, store = outbox()
    if not store.retry(id, time.time()):
        raise _not_now(id, "retried")
    click.echo(f"{id} is queued, for those who did not get it.")


@mail_cli.command("cancel")
@click.argument("id")
@plainly
def cancel_command(id: str) -> None:
    """Take a message that waits or is held out of the queue."""
    _, store = outbox()
    if not store.cancel(id, time.time()):
        raise _not_now(id, "cancelled")
    click.echo(f"{id} is cancelled.")


_everything = click.option("--all", "everything", is_flag=True, help="All transports.")


@mail_cli.command("pause")
@click.argument("transport", default="default")
@_everything
@plainly
def pause_command(transport: str, everything: bool) -> None:
    """Let no more mail out over TRANSPORT, or with --all by any way; what is sent meanwhile waits."""
    wiring, store = outbox()
    if everything:
        from .ledger.store import EVERY

        store.pause(EVERY, "paused by hand", by="person")
        click.echo("Everything is paused; 'flask mail resume --all' goes on.")
        return
    name, _ = wiring.transport(transport, "immediate")
    store.pause(name, "paused by hand", by="person")
    click.echo(f"Transport {name!r} is paused.")


@mail_cli.command("resume")
@click.argument("transport", default="default")
@_everything
@plainly
def resume_command(transport: str, everything: bool) -> None:
    """Let mail out over TRANSPORT again, or with --all by every way, whoever paused it."""
    from .ledger.store import EVERY

    _, store = outbox()
    if everything:
        click.echo("Everything is open." if store.resume_all() else "Nothing was paused.")
        return
    paused = store.resume(transport)
    click.echo(f"Transport {transport!r} {'is open' if paused else 'was not paused'}.")
    if EVERY in this_mail().status().paused:
        click.echo("But everything is paused; 'flask mail resume --all' goes on.")


@mail_cli.command("purge")
@click.option(
    "--state",
    type=click.Choice([str(state) for state in ENDED]),
    required=True,
    help="How they ended.",
)
@click.option(
    "--older-than",
    "age",
    type=duration,
    required=True,
    help="Since when they must have ended: 30d, 12h, 90min.",
)
@click.option("--dry-run", is_flag=True, help="Only count them.")
@plainly
def purge_command(state: str, age: float, dry_run: bool) -> None:
    """Delete messages that are over, with their recipients, attempts and attachments.

    A batch of them at a time, while workers and sends go on. Keys given to 'send' are remembered.
    """
    _, store = outbox()
    now = time.time()
    found = store.count_ended(state, now - age)
    if dry_run:
        click.echo(f"{found:,} {state} messages would be deleted.")
        return
    gone = 0
    with click.progressbar(length=found, label="Deleting", file=sys.stderr) as bar:
        for number in store.purge(state, now - age, now):
            gone += number
            bar.update(number)
    click.echo(f"{gone:,} {state} messages were deleted.")


#: The exit codes of ``doctor``.
_CODES = {Level.OK: 0, Level.WARNING: 1, Level.FAILED: 2}


@mail_cli.command("doctor", with_appcontext=False)
@click.option("--to", metavar="ADDRESS", help="Also send a test message to this address.")
@json_option
@click.pass_context
def doctor_command(ctx: click.Context, to: str | None, as_json: bool) -> None:
    """Look at settings, outbox, worker and mail server, and say what is wrong and how to mend it.

    The server is asked as a worker asks it, with the configured login; without --to no mail is sent. Exits with 0 when
    all is well, 1 when there are warnings, 2 when something does not work.
    """
    from ._doctor import examination

    log_nothing()
    findings = []
    for finding in examination(ctx.ensure_object(ScriptInfo).load_app, to):
        findings.append(finding)
        if not as_json:
            click.echo(str(finding))
    level = worst(findings)
    if as_json:
        print_json({"level": level, "findings": [asdict(one) for one in findings]})
    ctx.exit(_CODES[level])


@mail_cli.command("init-db")
@plainly
def init_db_command() -> None:
    """Create the outbox's tables, where they are missing."""
    _, store = outbox()
    store.create_schema()
    click.echo("The outbox's tables are there.")


def _not_now(id: str, what: str) -> click.ClickException:
    view = this_mail().get(id)
    if view is None:
        return click.ClickException(f"No message has the id {id}.")
    return click.ClickException(f"{id} cannot be {what}: it is {view.state}.")
