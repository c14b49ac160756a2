"""The statements of limits: what was spent, what is under way, and how often a transport failed in a row."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, String, Text, bindparam, func, null, or_, select, update
from sqlalchemy.sql.elements import ClauseElement

from .changes import SENDING
from .driver import Compiled, Types, compiled
from .tables import delivery, limit

_LANE: Types = {"lane": String}

_LIMIT: Types = {**_LANE, "opens": BigInteger, "failures": Integer, "spent": Text}

_MINE = limit.c.env == bindparam("env")


class LimitStatements(Compiled):
    """The statements."""

    @compiled
    def lock_limits(self) -> ClauseElement:
        """The given rows, ours until the transaction ends; in one order, so that no two wait for each other."""
        given, c = self.given(_LANE), limit.c
        return (
            select(c.lane, c.opens, c.failures, c.spent)
            .where(_MINE, c.lane == given.c.lane)
            .order_by(c.lane)
            .with_for_update(of=limit)
        )

    @compiled
    def insert_limit(self) -> ClauseElement:
        """Changes no row that is there."""
        return self.insert_new(limit, "env lane", "env lane")

    @compiled
    def store_limits(self) -> ClauseElement:
        given = self.given(_LIMIT)
        values = {name: given.c[name] for name in ("opens", "failures", "spent")}
        return update(limit).where(_MINE, limit.c.lane == given.c.lane).values(values)

    @compiled
    def under_way(self) -> ClauseElement:
        """How many letters of a transport are in the hands of workers, by lane."""
        c = delivery.c
        its = (c.env == bindparam("env"), c.transport == bindparam("transport"))
        leased = c.due > bindparam("now")
        return (
            select(c.lane, func.count().label("number"))
            .where(SENDING, *its, leased)
            .group_by(c.lane)
        )

    @compiled
    def open_limits(self) -> ClauseElement:
        """Nothing stays closed: what was spent decides at the next claim, and one letter tries a broken transport."""
        return update(limit).where(_MINE, limit.c.opens.is_not(None)).values(opens=null())

    @compiled
    def open_transport(self) -> ClauseElement:
        """By hand: its breaker is closed, and so are those of the lanes of its domains."""
        c = limit.c
        its = or_(
            c.lane == bindparam("lane"), c.lane.startswith(bindparam("prefix", type_=String()))
        )
        shut = or_(c.opens.is_not(None), c.failures > 0)
        return update(limit).where(_MINE, its, shut).values(opens=null(), failures=0)
