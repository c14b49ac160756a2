"""Whether the keys that are set read what is stored."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import OutboxError
from ..rules.findings import Finding, failed, ok
from . import queries
from .cipher import TEXT
from .store import Store

_FOREIGN = "The outbox is encrypted, and none of the keys in MAIL_OUTBOX_KEY reads it: every send is refused."
_ADD = "Add the key that was used before, behind the one that is to encrypt from now on."


def examine_keys(store: Store) -> Iterator[Finding]:
    """Look at the newest 100,000 messages; nothing is said where none is encrypted, nor to be."""
    try:
        with store.database.snapshot() as connection:
            rows = connection.execute(queries.content_heads()).all()
        foreign = store.contents.is_foreign()
    except OutboxError as error:
        yield failed("key", str(error))
        return
    heads = {bytes(row.head): int(row.number) for row in rows}
    closed = sum(number for head, number in heads.items() if not store.contents.reads(head))
    plain = sum(number for head, number in heads.items() if not head.startswith(TEXT))
    if foreign:
        yield failed("key", _FOREIGN, _ADD)
    if closed:
        missing = (
            "MAIL_OUTBOX_KEY is not set" if store.contents.cipher is None else "the key is missing"
        )
        text = (
            f"{closed:,} message(s) cannot be read, as {missing}: they are held when they are due."
        )
        yield failed("key", text, _ADD)
    elif store.contents.cipher is not None and not foreign:
        left = f", {plain:,} of it as it was stored before there was a key" if plain else ""
        yield ok("key", f"MAIL_OUTBOX_KEY reads all that is stored{left}.")
