"""Taking away what is over: the statements, and one batch of it.

Deliveries that have ended go first; then what belongs to those that are gone: recipients and tries by letter and
part, the letter and its events when its last part is, and the attachments that no letter has any more. The names
of sends (``mail_key``) stay: they outlive their letters.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import (
    BigInteger,
    FromClause,
    Integer,
    String,
    and_,
    bindparam,
    delete,
    func,
    select,
)
from sqlalchemy.sql.elements import ClauseElement, ColumnElement
from sqlalchemy.sql.expression import exists

from .driver import Compiled, Line, Types, compiled
from .rows import Row, document
from .tables import (
    attempt,
    batch_letter,
    blob,
    delivery,
    event,
    letter,
    letter_blob,
    letter_tag,
    recipient,
)

_LETTERS: Types = {"letter_id": String}


def _ended() -> ColumnElement[bool]:
    """Deliveries in that state since before ``until``. Their letters are older still, and ids are ordered by time."""
    c = delivery.c
    return and_(
        c.env == bindparam("env"),
        c.state == bindparam("state"),
        c.finished < bindparam("until"),
        c.letter_id < bindparam("before"),
    )


def ended_before(env: str, state: str, until: int) -> Row:
    """What names those that are meant, in a statement."""
    return {"env": env, "state": state, "until": until, "before": f"{until:012x}"}


class Purges(Compiled):
    """The statements."""

    @compiled
    def count_ended(self) -> ClauseElement:
        return select(func.count().label("number")).where(_ended())

    @compiled
    def ended(self) -> ClauseElement:
        """The next ``limit`` of them, from the letter ``after`` on, of which there may be more parts."""
        c = delivery.c
        return (
            select(c.id, c.letter_id)
            .where(_ended(), c.letter_id >= bindparam("after"))
            .order_by(c.letter_id, c.part)
            .limit(bindparam("limit", type_=Integer))
            .with_for_update()
        )

    @compiled
    def delete_deliveries(self) -> ClauseElement:
        ids = select(self.given({"id": BigInteger}).c.id)
        return delete(delivery).where(delivery.c.id.in_(ids))

    @compiled
    def delete_recipients(self) -> ClauseElement:
        return delete(recipient).where(*_orphans(recipient, self.given(_LETTERS), by_part=True))

    @compiled
    def delete_attempts(self) -> ClauseElement:
        return delete(attempt).where(*_orphans(attempt, self.given(_LETTERS), by_part=True))

    @compiled
    def delete_events(self) -> ClauseElement:
        return delete(event).where(*_orphans(event, self.given(_LETTERS)))

    @compiled
    def delete_letter_blobs(self) -> ClauseElement:
        return delete(letter_blob).where(*_orphans(letter_blob, self.given(_LETTERS)))

    @compiled
    def delete_letter_tags(self) -> ClauseElement:
        return delete(letter_tag).where(*_orphans(letter_tag, self.given(_LETTERS)))

    @compiled
    def delete_batch_letters(self) -> ClauseElement:
        return delete(batch_letter).where(*_orphans(batch_letter, self.given(_LETTERS)))

    @compiled
    def delete_letters(self) -> ClauseElement:
        ids = select(self.given(_LETTERS).c.letter_id)
        live = exists().where(delivery.c.letter_id == letter.c.id)
        return delete(letter).where(letter.c.id.in_(ids), ~live)

    @compiled
    def digests(self) -> ClauseElement:
        ids = select(self.given(_LETTERS).c.letter_id)
        return select(letter_blob.c.digest).where(letter_blob.c.letter_id.in_(ids)).distinct()

    @compiled
    def delete_blobs(self) -> ClauseElement:
        """Of those digests, what no letter has, and no send has just found to be there."""
        digests = select(self.given({"digest": String}).c.digest)
        used = exists().where(letter_blob.c.digest == blob.c.digest)
        stale = blob.c.touched < bindparam("stale")
        return delete(blob).where(blob.c.digest.in_(digests), ~used, stale)


def _orphans(
    of: FromClause, given: FromClause, *, by_part: bool = False
) -> tuple[ColumnElement[bool], ...]:
    """Rows of the given letters whose delivery is gone."""
    owner = delivery.c.letter_id == of.c.letter_id
    if by_part:
        owner = and_(owner, delivery.c.part == of.c.part)
    return of.c.letter_id.in_(select(given.c.letter_id)), ~exists().where(owner)


def batch(
    line: Line, sql: Purges, asked: Mapping[str, object], *, after: str, stale: int
) -> tuple[int, str]:
    """Take the next ones away.

    :param asked: which, as :func:`ended_before` says, and ``limit``, how many.
    :param after: the letter that the batch before ended with, "" for the first.
    :param stale: when an attachment must have been used last to be taken away, too.
    :returns: how many messages, and the letter that it ended with.
    """
    found = list(sql.ended(line, **asked, after=after))
    if not found:
        return 0, after
    sql.delete_deliveries(line, rows=document([{"id": row.id} for row in found]))
    letters = document([{"letter_id": row.letter_id} for row in found])
    digests = document([{"digest": row.digest} for row in sql.digests(line, rows=letters)])
    for statement in (
        sql.delete_recipients,
        sql.delete_attempts,
        sql.delete_events,
        sql.delete_letter_blobs,
        sql.delete_letter_tags,
        sql.delete_batch_letters,
        sql.delete_letters,
    ):
        statement(line, rows=letters)
    sql.delete_blobs(line, rows=digests, stale=stale)
    return len(found), found[-1].letter_id
