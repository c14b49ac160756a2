"""Encrypting anew: what is readable, or encrypted under an older key, comes under the first one.

It goes row by row, in transactions of a bounded number of bytes, while sends and workers go on: whoever reads a row
finds it under one key or the other, and has both. A content that is taken away meanwhile stays away.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import func, select

from ..errors import ConfigurationError
from . import sends
from .cipher import TEXT, Cipher, UnknownKeyError, Vault, content_of
from .contents import NAMING
from .rows import document, millis
from .statements import statements_for
from .store import Store
from .tables import blob, letter

#: Letters that are looked at in one step, and bytes of contents that are encrypted in one.
PAGE, BYTES = 200, 2 * 2**20


class Rekeyed(NamedTuple):
    """What a step has done.

    :param seen: letters and attachments that were looked at.
    :param unread: of these, what none of the keys reads; it stays as it is.
    """

    seen: int = 0
    contents: int = 0
    attachments: int = 0
    unread: int = 0


class Rekeying:
    """Encrypts one outbox anew.

    :raises ConfigurationError: there is no key.
    :raises OutboxError: none of the keys reads what is there.
    """

    def __init__(self, store: Store) -> None:
        cipher, vault = store.contents.cipher, store.contents.vault()
        if cipher is None or vault is None:
            raise ConfigurationError("'MAIL_OUTBOX_KEY' must be set: by what should be encrypted?")
        self._database = store.database
        self._cipher: Cipher = cipher
        self._vault: Vault = vault

    def count(self) -> int:
        """How many letters and attachments there are."""
        with self._database.snapshot() as connection:
            # It reads whole indexes, as only this may, which is about to read everything.
            counts = [select(func.count()).select_from(table) for table in (letter, blob)]
            return sum(connection.execute(count).scalar_one() for count in counts)

    def run(self, now: float) -> Iterator[Rekeyed]:
        """All that is to be done, step by step; each is a transaction at most."""
        self._secret()
        yield from self._contents()
        yield from self._attachments(now)

    def _secret(self) -> None:
        with self._database.direct(durable=True) as line:
            sql = statements_for(line.dialect)
            for row in list(sql.find_secret(line, name=NAMING)):
                old = bytes(row.value)
                if not self._cipher.is_current(old):
                    new = self._cipher.seal(self._cipher.open(old, NAMING), NAMING)
                    sql.replace_secret(line, which=NAMING, old=old, new=new)

    # -- contents ----------------------------------------------------------------------------------------------

    def _contents(self) -> Iterator[Rekeyed]:
        after = ""
        while rows := self._page(after):
            after = rows[-1].id
            old = [row for row in rows if row.head is not None and not self._done(bytes(row.head))]
            yield Rekeyed(seen=len(rows))
            for portion in _portions(old):
                yield self._encrypted(portion)

    def _page(self, after: str) -> Sequence[Any]:
        with self._database.glance() as line:
            return list(statements_for(line.dialect).walk_contents(line, after=after, limit=PAGE))

    def _done(self, head: bytes) -> bool:
        return head.startswith(TEXT) and self._cipher.is_current(b64decode(head[len(TEXT) :]))

    def _encrypted(self, ids: Sequence[str]) -> Rekeyed:
        with self._database.glance() as line:
            asked = document([{"id": one} for one in ids])
            rows = list(statements_for(line.dialect).contents_of(line, rows=asked))
        changes, unread = [], 0
        for row in rows:
            if row.content is None:
                continue
            try:
                plain = self._plain(row.id, bytes(row.content))
            except UnknownKeyError:
                unread += 1
            else:
                changes.append({"which": row.id, "new": self._vault.content(row.id, plain)})
        with self._database.direct() as line:
            statements_for(line.dialect).replace_content.many(line, changes)
        return Rekeyed(contents=len(changes), unread=unread)

    def _plain(self, letter_id: str, stored: bytes) -> bytes:
        return content_of(self._cipher, letter_id, stored) if stored.startswith(TEXT) else stored

    # -- attachments -------------------------------------------------------------------------------------------

    def _attachments(self, now: float) -> Iterator[Rekeyed]:
        after = ""
        while rows := self._page_of_heads(after):
            after = rows[-1].digest
            for row in rows:
                if self._cipher.is_current(bytes(row.head)):
                    yield Rekeyed(seen=1)
                else:
                    yield self._attachment(row.digest, now)

    def _page_of_heads(self, after: str) -> Sequence[Any]:
        with self._database.glance() as line:
            return list(statements_for(line.dialect).walk_heads(line, after=after, limit=PAGE))

    def _attachment(self, name: str, now: float) -> Rekeyed:
        """One alone: it may be large."""
        with self._database.glance() as line:
            found = [
                bytes(row.data) for row in statements_for(line.dialect).one_blob(line, which=name)
            ]
        if not found:
            return Rekeyed(seen=1)
        (data,) = found
        if sha256(data).hexdigest() == name:
            self._conceal(name, data, millis(now))
            return Rekeyed(seen=1, attachments=1)
        try:
            plain = self._cipher.open(data, f"attachment {name}")
        except UnknownKeyError:
            return Rekeyed(seen=1, unread=1)
        new = self._cipher.seal(plain, f"attachment {name}")
        with self._database.direct() as line:
            statements_for(line.dialect).replace_blob(line, which=name, new=new)
        return Rekeyed(seen=1, attachments=1)

    def _conceal(self, digest: str, data: bytes, now: int) -> None:
        """Store a readable one under its other name; letters have it by that from then on."""
        name, sealed = self._vault.name(digest), self._vault.attachment(digest, data)
        with self._database.direct() as line:
            sql = statements_for(line.dialect)
            sql.insert_blob(line, digest=name, size=len(data), touched=now, data=sealed)
            sql.rename_uses(line, which=digest, name=name)
            sql.remove_unused(line, which=digest, stale=now - 2 * sends.FRESH * 1000)


def _portions(rows: Sequence[Any]) -> Iterator[list[str]]:
    """The ids of what is read, and written, at once."""
    portion: list[str] = []
    size = 0
    for row in rows:
        if portion and size + row.size > BYTES:
            yield portion
            portion, size = [], 0
        portion.append(row.id)
        size += row.size
    if portion:
        yield portion
