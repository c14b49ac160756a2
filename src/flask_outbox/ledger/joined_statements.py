"""A send to a server as one statement: a round trip, whatever it stores, and the news of it.

PostgreSQL tells those who LISTEN when the transaction commits, and tells nobody of one that is rolled back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Integer,
    Select,
    SmallInteger,
    String,
    Table,
    Text,
    bindparam,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.sql.elements import ClauseElement, ColumnElement
from sqlalchemy.sql.selectable import CTE

from .driver import Compiled, Types, compiled
from .tables import delivery, letter, literal, recipient

#: What workers LISTEN to; the payload is the environment.
CHANNEL = "flask_outbox"

_LETTER: Types = {
    "id": String,
    "message_id": String,
    "sender": String,
    "subject": String,
    "tags": Text,
    "size": Integer,
    "created": BigInteger,
    "content": Text,
}

_DELIVERY: Types = {
    "letter_id": String,
    "part": SmallInteger,
    "env": String,
    "state": String,
    "reason": String,
    "transport": String,
    "lane": String,
    "priority": SmallInteger,
    "due": BigInteger,
    "expires": BigInteger,
    "guarantee": String,
    "size": Integer,
    "created": BigInteger,
}

_RECIPIENT: Types = {
    "letter_id": String,
    "position": Integer,
    "part": SmallInteger,
    "address": String,
    "state": String,
    "updated": BigInteger,
}


class JoinedStatements(Compiled):
    """The statements."""

    @compiled
    def store_letters(self) -> ClauseElement:
        """Letters with what belongs to each: ``letters``, ``deliveries`` and ``recipients`` are JSON documents."""
        return self.tell_workers.add_cte(*self.stored)

    @property
    def tell_workers(self) -> Select[Any]:
        """The news, told at the commit."""
        return select(func.pg_notify(literal(CHANNEL), bindparam("env", type_=String())))

    @property
    def stored(self) -> list[CTE]:
        """The inserts."""
        content = func.convert_to(literal_column("letters.content"), literal("UTF8"))
        return [
            self._inserted(letter, "letters", _LETTER, {"content": content}),
            self._inserted(delivery, "deliveries", _DELIVERY, {}),
            self._inserted(recipient, "recipients", _RECIPIENT, {}),
        ]

    def _inserted(
        self, table: Table, rows: str, types: Types, made: Mapping[str, ColumnElement[Any]]
    ) -> CTE:
        given = self.given(types, rows)
        columns = [made.get(name, given.c[name]) for name in types]
        return (
            insert(table)
            .from_select(list(types), select(*columns).select_from(given), include_defaults=False)
            .cte(f"stored_{rows}")
        )
