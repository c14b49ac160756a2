"""A send: letters become rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import cast

from ..errors import MessageError
from ..mail.letter import Letter, Place, Terms
from ..rules.states import RecipientState, State
from . import packets
from .batches import keep_open
from .cipher import Vault
from .driver import Line
from .rows import Row, clip, document, millis
from .statements import Statements
from .tables import TAG

#: Seconds for which a blob's last use counts as fresh. The collector waits twice as long, so that a fresh one
#: cannot go away under a send that relies on it.
FRESH = 1_800


@dataclass(frozen=True, slots=True)
class Entry:
    """A letter that is to be stored, with its rows. They are made before the database is locked."""

    letter: Letter
    key: str | None
    place: Place | None
    letter_row: Row
    delivery_row: Row
    recipient_rows: list[Row]
    vault: Vault | None

    @classmethod
    def of(
        cls,
        letter: Letter,
        terms: Terms,
        env: str,
        now: int,
        lane: Callable[[str, Iterable[str]], str],
        vault: Vault | None = None,
    ) -> Entry:
        """Of a letter.

        :param lane: which one a transport and recipients have.
        :param vault: encrypts what it says.
        """
        size = letter.size
        return cls(
            letter,
            terms.key,
            terms.place,
            _letter_row(letter, size, now, vault),
            _delivery_row(letter, terms, lane(terms.transport, letter.envelope_to), size, env, now),
            _recipient_rows(letter, now),
            vault,
        )

    @property
    def waits(self) -> bool:
        """Whether it is not to be sent yet."""
        return self.place is not None and self.place.waits


def _letter_row(letter: Letter, size: int, now: int, vault: Vault | None) -> Row:
    content = letter.to_json().encode()
    return {
        "id": letter.id,
        "message_id": letter.message_id,
        "sender": letter.sender.addr,
        "subject": clip(letter.subject, 200),
        "tags": document(letter.tags) if letter.tags else None,
        "size": size,
        "created": now,
        "content": content if vault is None else vault.content(letter.id, content),
    }


def _delivery_row(letter: Letter, terms: Terms, lane: str, size: int, env: str, now: int) -> Row:
    return {
        "letter_id": letter.id,
        "part": 0,
        "env": env,
        "state": (State.HELD if terms.hold else State.QUEUED).value,
        "reason": clip(terms.hold, 200),
        "transport": terms.transport,
        "lane": lane,
        "priority": terms.priority,
        "due": now if terms.due is None else millis(terms.due),
        "expires": None if terms.expires is None else millis(terms.expires),
        "guarantee": terms.guarantee,
        "size": size,
        "created": now,
    }


def _recipient_rows(letter: Letter, now: int) -> list[Row]:
    return [
        {
            "letter_id": letter.id,
            "position": position,
            "part": 0,
            "address": address,
            "state": RecipientState.OPEN.value,
            "updated": now,
        }
        for position, address in enumerate(letter.envelope_to)
    ]


def is_single(entries: Iterable[Entry]) -> bool:
    """Whether it is one statement that stores them, in a dialect that stores letters at once."""
    return all(
        entry.key is None and entry.place is None and not entry.letter.tags for entry in entries
    ) and not any(part for entry in entries for part in entry.letter.parts())


def store(line: Line, sql: Statements, entries: Sequence[Entry], env: str, now: int) -> list[str]:
    """Insert letters.

    :returns: for each its id, or that of the first one sent under the same key.
    :raises MessageError: a key was used for another content.
    :raises OutboxError: one is too large for the server.
    """
    if sql.mysql:
        packets.check(line, max((_largest(entry) for entry in entries), default=0))
    ids = [
        entry.letter.id if entry.key is None else _first(line, sql, entry, env, now)
        for entry in entries
    ]
    new = [entry for entry, stored in zip(entries, ids, strict=True) if entry.letter.id == stored]
    _insert(line, sql, new, env)
    _store_blobs(line, sql, new, now)
    sql.insert_letter_tag.many(line, _tag_rows([entry.letter for entry in new]))
    _store_places(line, sql, new, now)
    return ids


def _largest(entry: Entry) -> int:
    """Bytes of what is stored by one statement."""
    content = cast(bytes, entry.letter_row["content"])
    return max(len(content), *(len(part.data) for part in entry.letter.parts()), 0)


def _insert(line: Line, sql: Statements, new: Sequence[Entry], env: str) -> None:
    letters = [entry.letter_row for entry in new]
    deliveries = [entry.delivery_row for entry in new if not entry.waits]
    recipients = [row for entry in new for row in entry.recipient_rows]
    if not sql.at_once:
        sql.insert_letter.many(line, letters)
        sql.insert_delivery.many(line, deliveries)
        sql.insert_recipient.many(line, recipients)
    elif new:
        sql.store_letters(
            line,
            env=env,
            letters=document(
                [{**row, "content": cast(bytes, row["content"]).decode()} for row in letters]
            ),
            deliveries=document(deliveries),
            recipients=document(recipients),
        )


def tag_word(tag: str) -> str:
    """A tag as it is kept for the search."""
    return clip(tag, TAG)


def _tag_rows(letters: Iterable[Letter]) -> list[Row]:
    return [
        {"tag": tag, "letter_id": letter.id}
        for letter in letters
        if letter.tags
        for tag in sorted({tag_word(tag) for tag in letter.tags})
    ]


def _store_places(line: Line, sql: Statements, entries: Sequence[Entry], now: int) -> None:
    """Where they stand in their batch, with the deliveries of those that wait for the rest of it."""
    rows: list[Row] = [
        {
            "batch_id": entry.place.batch,
            "position": entry.place.position,
            "letter_id": entry.letter.id,
            "waiting": document(entry.delivery_row) if entry.waits else None,
        }
        for entry in entries
        if entry.place is not None
    ]
    for batch in {row["batch_id"] for row in rows if row["waiting"] is not None}:
        keep_open(line, sql, str(batch), now)
    sql.insert_batch_letter.many(line, rows)


def _first(line: Line, sql: Statements, entry: Entry, env: str, now: int) -> str:
    """The letter that has the entry's key: its own, or the one that was there before."""
    letter, digest = entry.letter, content_digest(entry.letter, entry.vault)
    mine: Row = {"env": env, "name": entry.key}
    if sql.insert_key(line, **mine, letter_id=letter.id, digest=digest, created=now).rowcount:
        return letter.id
    ((first, known),) = sql.find_key(line, **mine)
    if not is_content(letter, known, entry.vault):
        raise other_content(entry.key, entry.place)
    return str(first)


def other_content(key: str | None, place: Place | None) -> MessageError:
    """The error where a key was used before."""
    return MessageError(
        f"key={key!r} belongs to another message, with other recipients or another content.",
        field="key",
        index=None if place is None else place.position,
    )


def is_content(letter: Letter, known: str, vault: Vault | None) -> bool:
    """Whether a digest is that of a letter, whether or not it was stored before mail was encrypted."""
    return known in (content_digest(letter, vault), content_digest(letter))


def content_digest(letter: Letter, vault: Vault | None = None) -> str:
    """What the caller asked to be sent, in short: two sends of the same have the same, whatever their ids and dates.

    :param vault: keeps a short secret in the text, as a code to log in with, from being found by trying all.
    """
    content = (
        letter.envelope_from,
        letter.envelope_to,
        [astuple(address) for address in (letter.sender, *letter.to, *letter.cc, *letter.reply_to)],
        letter.subject,
        letter.text,
        letter.html,
        letter.alternatives,
        letter.headers,
        [(part.filename, part.content_type, part.digest) for part in letter.attachments],
    )
    digest = hashlib.sha256(document(content).encode()).hexdigest()
    return digest if vault is None else vault.name(digest)


def _store_blobs(line: Line, sql: Statements, entries: Sequence[Entry], now: int) -> None:
    blobs = {part.digest: part.data for entry in entries for part in entry.letter.parts()}
    if not blobs:
        return
    vault = entries[0].vault
    names = {digest: digest if vault is None else vault.name(digest) for digest in blobs}
    asked = document([{"digest": name} for name in names.values()])
    there = {name for (name,) in sql.fresh_blobs(line, rows=asked, since=now - FRESH * 1000)}
    # In one order, so that two transactions cannot wait for each other.
    new = [
        {
            "digest": name,
            "size": len(blobs[digest]),
            "touched": now,
            "data": blobs[digest] if vault is None else vault.attachment(digest, blobs[digest]),
        }
        for name, digest in sorted((name, digest) for digest, name in names.items())
        if name not in there
    ]
    sql.insert_blob.many(line, new)
    uses = {
        (entry.letter.id, names[part.digest]) for entry in entries for part in entry.letter.parts()
    }
    sql.insert_letter_blob.many(
        line, [{"letter_id": id_, "digest": name} for id_, name in sorted(uses)]
    )
