"""The statements of encryption: its secret, what was held for want of a key, and what is encrypted anew."""

from __future__ import annotations

from sqlalchemy import Integer, bindparam, delete, func, null, select, update
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.expression import exists

from ..rules.states import ATTENTION, State
from .changes import requeued
from .driver import Compiled, compiled
from .tables import among, blob, delivery, letter, letter_blob, literal, secret


class CipherStatements(Compiled):
    """The statements."""

    @compiled
    def find_secret(self) -> ClauseElement:
        return select(secret.c.value).where(secret.c.name == bindparam("name"))

    @compiled
    def insert_secret(self) -> ClauseElement:
        """Changes nothing where there is one."""
        return self.insert_new(secret, "name value", "name")

    @compiled
    def replace_secret(self) -> ClauseElement:
        mine = (secret.c.name == bindparam("which"), secret.c.value == bindparam("old"))
        return update(secret).where(*mine).values(value=bindparam("new"))

    @compiled
    def release_unread(self) -> ClauseElement:
        c = delivery.c
        # The index of what waits for a person is used where its condition stands there as a whole.
        held = (c.env == bindparam("env"), among(delivery, ATTENTION))
        unread = (c.state == literal(State.HELD), c.reason == bindparam("reason"))
        return (
            update(delivery)
            .where(*held, *unread)
            .values(**requeued(), created=bindparam("now"), finished=null())
        )

    @compiled
    def walk_contents(self) -> ClauseElement:
        """The next letters: how their contents begin, and how long they are."""
        c = letter.c
        head = func.substr(c.content, 1, 10).label("head")
        return (
            select(c.id, head, func.length(c.content).label("size"))
            .where(c.id > bindparam("after"))
            .order_by(c.id)
            .limit(bindparam("limit", type_=Integer))
        )

    @compiled
    def replace_content(self) -> ClauseElement:
        """Where it was not taken away meanwhile."""
        theirs = (letter.c.id == bindparam("which"), letter.c.content.is_not(None))
        return update(letter).where(*theirs).values(content=bindparam("new"))

    @compiled
    def walk_heads(self) -> ClauseElement:
        """The next attachments, and how they begin."""
        c = blob.c
        head = func.substr(c.data, 1, 5).label("head")
        return (
            select(c.digest, head)
            .where(c.digest > bindparam("after"))
            .order_by(c.digest)
            .limit(bindparam("limit", type_=Integer))
        )

    @compiled
    def one_blob(self) -> ClauseElement:
        return select(blob.c.data).where(blob.c.digest == bindparam("which"))

    @compiled
    def replace_blob(self) -> ClauseElement:
        return update(blob).where(blob.c.digest == bindparam("which")).values(data=bindparam("new"))

    @compiled
    def rename_uses(self) -> ClauseElement:
        """Let letters have an attachment under another name."""
        theirs = letter_blob.c.digest == bindparam("which")
        return update(letter_blob).where(theirs).values(digest=bindparam("name"))

    @compiled
    def remove_unused(self) -> ClauseElement:
        """An attachment that no letter has, and that no send has just found to be there."""
        used = exists().where(letter_blob.c.digest == blob.c.digest)
        mine = (blob.c.digest == bindparam("which"), blob.c.touched < bindparam("stale"))
        return delete(blob).where(*mine, ~used)
