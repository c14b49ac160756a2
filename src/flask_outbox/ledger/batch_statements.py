"""The statements of batches that are published whole."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Integer,
    String,
    bindparam,
    delete,
    insert,
    null,
    select,
    update,
)
from sqlalchemy.sql.elements import ClauseElement

from .driver import Compiled, Types, compiled, parameters
from .tables import batch, batch_letter, letter, letter_blob, letter_tag, literal, recipient

_LETTERS: Types = {"id": String}

_THIS = batch.c.id == bindparam("batch")
_STORING = batch.c.state == literal("storing")


class BatchStatements(Compiled):
    """Those of :mod:`.batches`, and what a send writes for a batch."""

    @compiled
    def insert_batch_letter(self) -> ClauseElement:
        columns = parameters("batch_id position letter_id waiting")
        return insert(batch_letter).values(columns).inline()

    @compiled
    def insert_batch(self) -> ClauseElement:
        return insert(batch).values(parameters("id state host boot_id pid beat")).inline()

    @compiled
    def beat_batch(self) -> ClauseElement:
        return update(batch).where(_THIS, _STORING).values(beat=bindparam("now"))

    @compiled
    def decide_batch(self) -> ClauseElement:
        """From here on it is published, or discarded, whatever happens."""
        return update(batch).where(_THIS, _STORING).values(state=bindparam("decided"))

    @compiled
    def remove_batch(self) -> ClauseElement:
        return delete(batch).where(_THIS)

    @compiled
    def batches(self) -> ClauseElement:
        return select(batch)

    @compiled
    def waiting(self) -> ClauseElement:
        c = batch_letter.c
        these = (c.batch_id == bindparam("batch"), c.position > bindparam("after"))
        return (
            select(c.position, c.letter_id, c.waiting)
            .where(*these, c.waiting.is_not(None))
            .order_by(c.position)
            .limit(bindparam("limit", type_=Integer))
        )

    @compiled
    def wait_no_more(self) -> ClauseElement:
        c = batch_letter.c
        these = (c.batch_id == bindparam("batch"), c.position >= bindparam("first"))
        until = (c.position <= bindparam("last"), c.waiting.is_not(None))
        return update(batch_letter).where(*these, *until).values(waiting=null())

    @compiled
    def remove_letters(self) -> ClauseElement:
        return self._remove(letter.c.id)

    @compiled
    def remove_recipients(self) -> ClauseElement:
        return self._remove(recipient.c.letter_id)

    @compiled
    def remove_letter_blobs(self) -> ClauseElement:
        return self._remove(letter_blob.c.letter_id)

    @compiled
    def remove_letter_tags(self) -> ClauseElement:
        return self._remove(letter_tag.c.letter_id)

    @compiled
    def remove_batch_letters(self) -> ClauseElement:
        c = batch_letter.c
        until = (c.position >= bindparam("first"), c.position <= bindparam("last"))
        return delete(batch_letter).where(c.batch_id == bindparam("batch"), *until)

    def _remove(self, of: Column[str]) -> ClauseElement:
        return delete(of.table).where(self.one_of(of, self.given(_LETTERS).c.id))
