"""``flask mail relay``: tells a task queue of what is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from flask.cli import with_appcontext

from ._task_queues import tasks_of
from ._terminal import outbox, plainly
from ._working import log_to_terminal, run_loop

if TYPE_CHECKING:
    from ._task_queues import Tasks


@click.command("relay")
@click.option("--once", is_flag=True, help="Tell it of what is due now, then exit (for cron).")
@with_appcontext
@plainly
def relay_command(once: bool) -> None:
    """Tell the task queue of what is due that its tasks may not know of, until SIGTERM or Ctrl-C.

    That is what is tried again, what was to be sent later, and what the broker has lost. The workers of Celery,
    Dramatiq and Huey do so by themselves, unless MAIL_RELAY is false; of several relays one works at a time.
    """
    _, store = outbox()
    tasks = tasks_of(None)
    store.check_schema()
    log_to_terminal()
    run_loop(_relay(tasks, once=once))
    click.echo("The relay has ended.")


async def _relay(tasks: Tasks, *, once: bool) -> None:
    from .delivery.orders import Orders

    assert tasks.make_relay is not None  # there is an outbox
    relay = tasks.make_relay()
    if once:
        await relay.once()
        return
    with Orders(relay.stop, None):
        click.echo("The relay runs; Ctrl-C ends it.")
        await relay.run()
