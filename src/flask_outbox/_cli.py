"""``flask mail …``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import wraps
from typing import TYPE_CHECKING

import click
from flask.cli import AppGroup, ScriptInfo

from ._message import Message
from ._purging import purge_command
from ._rekeying import rekey_command
from ._relaying import relay_command
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
from .telemetry.cures import cure

if TYPE_CHECKING:
    from .ledger.reports import MessageView

#: Messages that are read at once.
_PAGE = 200

mail_cli = AppGroup("mail", help="Send, watch and mend the application's mail.")

mail_cli.add_command(worker_command)
mail_cli.add_command(relay_command)


@mail_cli.command("send-test")
@click.argument("recipient")
@click.option(
    "--transport", default="default", show_default=True, help="What it goes over: a name, or a URL."
)
@json_option
@plainly
def send_test_command(recipient: str, transport: str, as_json: bool) -> None:
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
        receipt = this_mail().send(message, engine="immediate", transport=transport)
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


for _command in (status_command, list_command, show_command, purge_command, rekey_command):
    mail_cli.add_command(_command)


_ids = click.argument("ids", metavar="[ID]...", nargs=-1)


#: What status counts apart from the state in which it is stored.
_COUNTED = {
    "queued": ("queued", "scheduled", "retrying"),
    "dead": ("dead", "expired"),
    "cancelled": ("cancelled", "suppressed"),
}


@dataclass(frozen=True, slots=True)
class _Which:
    """The messages that a command is for, where they are not given by their ids.

    :param since: seconds since the oldest of them was accepted.
    """

    state: str | None
    transport: str | None
    since: float | None
    dry_run: bool

    def pages(self) -> Iterator[Sequence[MessageView]]:
        """Them, newest first."""
        reports, last = this_desk().reports(), None
        oldest = 0.0 if self.since is None else time.time() - self.since
        while page := reports.list(
            state=self.state, transport=self.transport, limit=_PAGE, before=last
        ):
            last = page[-1].id
            yield [one for one in page if one.created >= oldest]
            if page[-1].created < oldest:
                return


def _all_in(*states: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options of a command that is for many."""
    options = (
        click.option("--state", type=click.Choice(states), help="All in this state, instead."),
        click.option("--transport", help="Only those that go over it."),
        click.option(
            "--since",
            type=duration,
            help="Only those accepted within this time: 2h, 3d.",
        ),
        click.option("--dry-run", is_flag=True, help="Only count them."),
    )

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def told(
            ids: Sequence[str],
            state: str | None,
            transport: str | None,
            since: float | None,
            dry_run: bool,
        ) -> None:
            command(ids, _Which(state, transport, since, dry_run))

        for option in reversed(options):
            told = option(told)
        return told

    return with_options


#: What a retry is for.
_RETRIED = ("dead", "expired", "held", "uncertain", "cancelled")

#: What waits in the queue.
_QUEUED = ("queued", "scheduled", "retrying")


@mail_cli.command("retry")
@_ids
@_all_in(*_RETRIED)
@plainly
def retry_command(ids: Sequence[str], which: _Which) -> None:
    """Send messages that are held, dead, uncertain or cancelled, as if they were new.

    Exits with 1 when one of them could not be.
    """
    done = "queued, for those who did not get"
    _change(ids, which, outbox()[1].retry, "retried", f"is {done} it", f"are {done} them")


@mail_cli.command("cancel")
@_ids
@_all_in(*_QUEUED, "held")
@plainly
def cancel_command(ids: Sequence[str], which: _Which) -> None:
    """Take messages that wait or are held out of the queue.

    Exits with 1 when one of them could not be.
    """
    _change(ids, which, outbox()[1].cancel, "cancelled", "is cancelled", "are cancelled")


@mail_cli.command("hold")
@_ids
@_all_in(*_QUEUED)
@plainly
def hold_command(ids: Sequence[str], which: _Which) -> None:
    """Keep messages back that wait in the queue, until 'release'.

    Exits with 1 when one of them could not be.
    """
    store = outbox()[1]
    _change(ids, which, lambda one, _: store.hold(one, "by hand"), "held", "is held", "are held")


@mail_cli.command("release")
@_ids
@_all_in("held")
@plainly
def release_command(ids: Sequence[str], which: _Which) -> None:
    """Let messages go that are held, when they were to be sent, and with the tries that they had.

    Exits with 1 when one of them could not be.
    """
    store = outbox()[1]
    done = "queued again"
    _change(
        ids,
        which,
        lambda one, _: store.release_held(one),
        "released",
        f"is {done}",
        f"are {done}",
    )


_Change = Callable[[str, float], bool]


def _change(
    ids: Sequence[str], which: _Which, change: _Change, what: str, done: str, all_done: str
) -> None:
    """Change messages, by their ids or all of a kind."""
    if ids and which.state:
        raise click.UsageError("Give the ids of messages, or --state, and not both.")
    if not which.state:
        if which != _Which(None, None, None, False):
            raise click.UsageError("--transport, --since and --dry-run need --state.")
        _those(ids, change, done, what)
    elif which.dry_run:
        found = sum(map(len, which.pages()))
        click.echo(f"{found:,} {which.state} messages would be {what}.")
    else:
        click.echo(f"{_each(which, change, what):,} {which.state} messages {all_done}.")


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


def _each(which: _Which, change: _Change, what: str) -> int:
    """Change all of a kind, a page of them at a time; workers and sends go on."""
    changed, counts = 0, this_mail().status().counts
    words = _COUNTED.get(which.state or "", (which.state or "",))
    length = sum(counts.get(word, 0) for word in words)
    with click.progressbar(length=length, label=what.capitalize(), file=sys.stderr) as bar:
        for page in which.pages():
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
@click.option("--sql", is_flag=True, help="Only print the statements that do it.")
@plainly
def init_db_command(sql: bool) -> None:
    """Create the outbox's tables, or bring older ones to the version that this Flask-Outbox needs.

    Where all is as it should be it changes nothing, so that it can be a step of every deployment.
    """
    from .ledger.tables import VERSION

    _, store = outbox()
    if sql:
        statements = store.database.script()
        click.echo(
            "\n".join(f"{statement};" for statement in statements)
            or f"-- The outbox's tables are of version {VERSION}: there is nothing to do."
        )
        return
    before = store.create_schema()
    if before is None:
        click.echo(f"The outbox's tables are made, in version {VERSION}.")
    elif before < VERSION:
        click.echo(f"The outbox's tables are brought from version {before} to {VERSION}.")
    else:
        click.echo(f"The outbox's tables are there, in version {VERSION}.")


def _not_now(id: str, what: str) -> click.ClickException:
    view = this_mail().get(id)
    if view is None:
        return click.ClickException(f"No message has the id {id}.")
    why = f"it is {view.state}"
    if what == "retried" and view.state in _RETRIED and this_desk().reports().content(id) is None:
        why = "its content was deleted, as MAIL_RETENTION_BODY or 'flask mail purge --bodies' says"
    return click.ClickException(f"{id} cannot be {what}: {why}.")
