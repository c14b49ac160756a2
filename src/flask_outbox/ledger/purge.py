"""The statements that take away what is over; what they are for is told in :mod:`.retention`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    String,
    and_,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.sql.elements import ClauseElement, ColumnElement
from sqlalchemy.sql.expression import exists, null

from .driver import Compiled, Types, compiled
from .tables import (
    attempt,
    batch_letter,
    blob,
    delivery,
    event,
    key,
    letter,
    letter_blob,
    suppression,
)

_LETTERS: Types = {"id": String}

#: Suppressions that have ended.
_LIFTED = (suppression.c.env == bindparam("env"), suppression.c.expires <= bindparam("until"))


def _ended() -> ColumnElement[bool]:
    """Deliveries in that state since before ``until``. Their letters are older still, and ids are ordered by time."""
    c = delivery.c
    return and_(
        c.env == bindparam("env"),
        c.state == bindparam("state"),
        c.finished <= bindparam("until"),
        c.letter_id < bindparam("before"),
    )


class Purges(Compiled):
    """The statements."""

    @compiled
    def count_ended(self) -> ClauseElement:
        return select(func.count().label("number")).where(_ended())

    @compiled
    def count_full(self) -> ClauseElement:
        """Those of them that ended after ``since``, and whose content is still there."""
        theirs = (letter.c.id == delivery.c.letter_id, letter.c.content.is_not(None))
        later = delivery.c.finished > bindparam("since")
        return select(func.count().label("number")).where(_ended(), *theirs, later)

    @compiled
    def walk(self) -> ClauseElement:
        """The next deliveries along the letters, whatever their state: what it costs depends on ``limit`` alone."""
        c = delivery.c
        full = letter.c.content.is_not(None).label("full")
        between = (c.letter_id > bindparam("after"), c.letter_id < bindparam("before"))
        return (
            select(c.id, c.letter_id, c.env, c.state, c.finished, c.size, full)
            .join(letter, letter.c.id == c.letter_id)
            .where(*between)
            .order_by(c.letter_id, c.part)
            .limit(bindparam("limit", type_=Integer))
        )

    @compiled
    def lock_ended(self) -> ClauseElement:
        """Those of the given deliveries that still are as they were, and that nobody else is at."""
        given = self.given({"id": BigInteger, "state": String})
        same = (delivery.c.id == given.c.id, delivery.c.state == given.c.state)
        return (
            select(delivery.c.id, delivery.c.letter_id)
            .where(*same)
            .with_for_update(of=delivery, skip_locked=True)
        )

    @compiled
    def remove_deliveries(self) -> ClauseElement:
        return self._of_letters(delivery.c.letter_id)

    @compiled
    def remove_attempts(self) -> ClauseElement:
        return self._of_letters(attempt.c.letter_id)

    @compiled
    def remove_events(self) -> ClauseElement:
        return self._of_letters(event.c.letter_id)

    @compiled
    def remove_places(self) -> ClauseElement:
        return self._of_letters(batch_letter.c.letter_id)

    def _of_letters(self, column: Column[str]) -> ClauseElement:
        return delete(column.table).where(self.one_of(column, self.given(_LETTERS).c.id))

    @compiled
    def empty_letters(self) -> ClauseElement:
        these = self.one_of(letter.c.id, self.given(_LETTERS).c.id)
        return update(letter).where(these).values(content=null())

    @compiled
    def digests(self) -> ClauseElement:
        ids = select(self.given(_LETTERS).c.id)
        return select(letter_blob.c.digest).where(letter_blob.c.letter_id.in_(ids)).distinct()

    @compiled
    def walk_blobs(self) -> ClauseElement:
        """The next attachments that were stored or relied on before ``stale``, and whether any letter has them."""
        c = blob.c
        used = exists().where(letter_blob.c.digest == c.digest).label("used")
        return (
            select(c.digest, c.touched, used)
            .where(c.digest > bindparam("after"))
            .order_by(c.digest)
            .limit(bindparam("limit", type_=Integer))
        )

    @compiled
    def delete_blobs(self) -> ClauseElement:
        """Of those digests, what no letter has, and no send has just found to be there."""
        these = self.one_of(blob.c.digest, self.given({"digest": String}).c.digest)
        used = exists().where(letter_blob.c.digest == blob.c.digest)
        stale = blob.c.touched < bindparam("stale")
        return delete(blob).where(these, ~used, stale)

    @compiled
    def old_keys(self) -> ClauseElement:
        old = (key.c.env == bindparam("env"), key.c.created <= bindparam("until"))
        return select(key.c.name).where(*old).limit(bindparam("limit", type_=Integer))

    @compiled
    def remove_keys(self) -> ClauseElement:
        these = self.one_of(key.c.name, self.given({"name": String}).c.name)
        old = (key.c.env == bindparam("env"), key.c.created <= bindparam("until"))
        return delete(key).where(*old, these)

    @compiled
    def walk_events(self) -> ClauseElement:
        """The next events, oldest first, and whether there is a message that they were told of."""
        c = event.c
        used = exists().where(letter.c.id == c.letter_id).label("used")
        return (
            select(c.id, c.recorded, used)
            .where(c.id > bindparam("after"))
            .order_by(c.id)
            .limit(bindparam("limit", type_=Integer))
        )

    @compiled
    def remove_loose_events(self) -> ClauseElement:
        """Of those, what there is no message of."""
        these = self.one_of(event.c.id, self.given({"id": BigInteger}).c.id)
        used = exists().where(letter.c.id == event.c.letter_id)
        return delete(event).where(these, ~used)

    @compiled
    def old_suppressions(self) -> ClauseElement:
        return (
            select(suppression.c.address).where(*_LIFTED).limit(bindparam("limit", type_=Integer))
        )

    @compiled
    def remove_suppressions(self) -> ClauseElement:
        """Of those addresses, what nobody has renewed meanwhile."""
        these = self.one_of(suppression.c.address, self.given({"address": String}).c.address)
        return delete(suppression).where(*_LIFTED, these)
