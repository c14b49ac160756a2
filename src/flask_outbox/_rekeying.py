"""``flask mail rekey``."""

from __future__ import annotations

import sys

import click
from flask.cli import with_appcontext

from ._terminal import json_option, outbox, plainly, print_json


@click.command("rekey")
@json_option
@with_appcontext
@plainly
def rekey_command(as_json: bool) -> None:
    """Encrypt all texts and attachments of the outbox by the first key of MAIL_OUTBOX_KEY.

    A few at a time, while workers and sends go on; afterwards the older keys are no longer needed. Exits with 1 where
    none of the keys reads something.
    """
    from .ledger.rekey import Rekeyed, Rekeying

    _, store = outbox()
    rekeying, total = Rekeying(store), Rekeyed()
    with click.progressbar(length=rekeying.count(), label="Encrypting", file=sys.stderr) as bar:
        for step in rekeying.run(store.now()):
            total = Rekeyed(*map(sum, zip(total, step, strict=True)))
            bar.update(step.seen)
    if as_json:
        print_json(total._asdict())
    else:
        click.echo(
            f"{total.contents:,} messages and {total.attachments:,} attachments were encrypted."
        )
    if total.unread:
        raise click.ClickException(
            f"{total.unread:,} are encrypted by a key that is not in MAIL_OUTBOX_KEY, and stay as they are."
        )
