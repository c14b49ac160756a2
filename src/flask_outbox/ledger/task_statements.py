"""The statements of task queues: those that look for single letters, and those of whoever passes on what is due."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Select, String, bindparam, select
from sqlalchemy.sql.elements import ClauseElement, ColumnElement

from ..rules.states import LIVE
from .driver import Compiled, compiled
from .tables import among, delivery, literal, worker

_DUE = delivery.c.due <= bindparam("now")


class TaskStatements(Compiled):
    """Those of task queues."""

    @compiled
    def candidates(self) -> ClauseElement:
        """The first due deliveries of a lane.

        What PostgreSQL has not vacuumed lies at the lane's old beginning: ``begin`` spares passing over it.
        """
        return (
            _of_lane(_CLAIMED)
            .where(delivery.c.due >= bindparam("begin"))
            .order_by(*self._in_turn())
            .limit(bindparam("limit", type_=Integer))
            .with_for_update(skip_locked=True)
        )

    @compiled
    def candidates_among(self) -> ClauseElement:
        """Those of the given letters that are due on a lane."""
        given = self.given({"id": String})
        env: ColumnElement[str] = delivery.c.env
        if self.dialect.name == "sqlite":
            # It would look through all that is due on the lane, as that is in order: so its index cannot be used.
            env = env.concat(literal(""))
        return (
            _of_lane(_CLAIMED, env)
            .where(delivery.c.letter_id == given.c.id)
            .order_by(delivery.c.due, delivery.c.id)
            .limit(bindparam("limit", type_=Integer))
            .with_for_update(skip_locked=True, of=delivery)
        )

    @compiled
    def places(self) -> ClauseElement:
        """Where the deliveries of the given letters stand."""
        given = self.given({"id": String})
        c = delivery.c
        wanted = (c.letter_id, c.lane, c.priority, c.state, c.due)
        mine = c.env == bindparam("env")
        return select(*wanted).where(c.letter_id == given.c.id, mine)

    @compiled
    def head(self) -> ClauseElement:
        """The first due deliveries of a lane, nobody's to keep."""
        wanted = "id letter_id due created"
        few = bindparam("limit", type_=Integer)
        return _of_lane(wanted).order_by(*self._in_turn()).limit(few)

    def _in_turn(self) -> list[Column[int]]:
        # The index ends with the id but for PostgreSQL, which would sort all that are due at the same moment.
        ends = [] if self.dialect.name == "postgresql" else [delivery.c.id]
        return [delivery.c.due, *ends]

    @compiled
    def relays(self) -> ClauseElement:
        """The relays that live, the one that has lived longest first."""
        c = worker.c
        mine = (c.env == bindparam("env"), c.role == literal("relay"))
        alive = c.beat > bindparam("since", type_=BigInteger)
        return select(c.id).where(*mine, alive).order_by(c.started, c.id)


#: What a claim reads of a delivery.
_CLAIMED = (
    "id letter_id part state transport priority expires guarantee size attempts rescues content_started"
    " created reason"
)


def _of_lane(columns: str, env: ColumnElement[str] = delivery.c.env) -> Select[tuple[object, ...]]:
    lane: list[ColumnElement[bool]] = [
        env == bindparam("env"),
        *(delivery.c[name] == bindparam(name) for name in ("lane", "priority")),
    ]
    wanted = [delivery.c[name] for name in columns.split()]
    return select(*wanted).where(among(delivery, LIVE), *lane, _DUE)
