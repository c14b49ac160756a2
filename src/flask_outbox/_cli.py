"""``flask mail …``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

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
from ._working import worker_command
from .errors import DeliveryError
from .mail.address import parse_address
from .rules.findings import Level, worst
from .rules.staging import Staging
from .rules.states import ENDED
from .telemetry.cures import cure

#: Messages that are read at once.
_PAGE = 200

mail_cli = AppGroup("mail", help="Send, watch and mend the application's mail.")

mail_cli.add_command(worker_command)


@mail_cli.command("send-test")
@click.argument("recipient")
@json_option
@plainly
def send_test_command(recipient: str, as_json: bool) -> None:
    """Send a test message to RECIPIENT now, past the outbox, and say what the server answered.

    Exits with 0 when it was taken, and with 1 when not.
    """
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
        _say_why_not(error, as_json)
        raise click.ClickException("The test message was not delivered.") from error
    if receipt.state == "suppressed":
        raise click.ClickException("Sending is suppressed: TESTING or MAIL_SUPPRESS_SEND is set.")
    took = (time.perf_counter() - started) * 1000
    if as_json:
        print_json({"delivered": True, "message_id": receipt.message_id, "ms": round(took)})
    else:
        click.echo(f"{_taken(recipient)} in {took:.0f} ms: {receipt.message_id}")


def _say_why_not(error: DeliveryError, as_json: bool) -> None:
    if as_json:
        failed = {
            to: {**asdict(outcome), "cure": cure(outcome)}
            for to, outcome in error.recipients.items()
        }
        print_json({"delivered": False, "recipients": failed})
        return
    for to, outcome in error.recipients.items():
        click.echo(f"{to}: {outcome.kind}: {outcome}", err=True)
        if advice := cure(outcome):
            click.echo(f"  {advice}", err=True)


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


_ids = click.argument("ids", metavar="[ID]...", nargs=-1)


#: What status counts apart from the state in which it is stored.
_COUNTED = {
    "queued": ("queued", "scheduled", "retrying"),
    "dead": ("dead", "expired"),
    "cancelled": ("cancelled", "suppressed"),
}


def _all_in(*states: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    choice = click.Choice(states)
    return click.option("--state", type=choice, help="All messages in this state, instead.")


@mail_cli.command("retry")
@_ids
@_all_in("dead", "expired", "held", "uncertain", "cancelled")
@plainly
def retry_command(ids: Sequence[str], state: str | None) -> None:
    """Send messages that are held, dead, uncertain or cancelled, as if they were new.

    Exits with 1 when one of them could not be.
    """
    _, store = outbox()
    if state is not None:
        count = _each(ids, state, store.retry, "Retrying")
        click.echo(f"{count:,} {state} messages are queued, for those who did not get them.")
        return
    _those(ids, store.retry, "is queued, for those who did not get it", "retried")


@mail_cli.command("cancel")
@_ids
@_all_in("queued", "scheduled", "retrying", "held")
@plainly
def cancel_command(ids: Sequence[str], state: str | None) -> None:
    """Take messages that wait or are held out of the queue.

    Exits with 1 when one of them could not be.
    """
    _, store = outbox()
    if state is not None:
        count = _each(ids, state, store.cancel, "Cancelling")
        click.echo(f"{count:,} {state} messages are cancelled.")
        return
    _those(ids, store.cancel, "is cancelled", "cancelled")


_Change = Callable[[str, float], bool]


def _those(ids: Sequence[str], change: _Change, done: str, what: str) -> None:
    """Change messages by their ids, the others also where one cannot be."""
    if not ids:
        raise click.UsageError("Give the ids of messages, or --state.")
    failures = []
    for id in ids:
        if change(id, time.time()):
            click.echo(f"{id} {done}.")
        else:
            failures.append(_not_now(id, what))
    for failure in failures[:-1]:
        failure.show()
    if failures:
        raise failures[-1]


def _each(ids: Sequence[str], state: str, change: _Change, label: str) -> int:
    """Change all messages in a state, a page of them at a time; workers and sends go on."""
    if ids:
        raise click.UsageError("Give the ids of messages, or --state, and not both.")
    mail, changed, last = this_mail(), 0, None
    counts = mail.status().counts
    length = sum(counts.get(word, 0) for word in _COUNTED.get(state, (state,)))
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        while page := mail.messages(state=state, limit=_PAGE, before=last):
            last = page[-1].id
            changed += sum(change(one.id, time.time()) for one in page)
            bar.update(len(page))
    return changed


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
