"""What a clock that was set back leaves behind: letters that are due at a time which is over, and comes again."""

from __future__ import annotations

from sqlalchemy import bindparam, literal, or_, update
from sqlalchemy.sql.elements import ClauseElement

from ..rules.states import LIVE, State
from .driver import Compiled, compiled
from .tables import among, delivery

#: Seconds by which clocks of one deployment may differ.
SLACK = 60.0


class ClockStatements(Compiled):
    """The statements."""

    @compiled
    def bring_forward(self) -> ClauseElement:
        """Make due, in one lane, what was so already when it was stored, or tried, by a clock that was ahead."""
        c = delivery.c
        lane = [c[name] == bindparam(name) for name in ("env", "lane", "priority")]
        theirs = (among(delivery, LIVE), *lane, c.state == literal(State.QUEUED))
        ahead = (c.due > bindparam("now"), c.created > bindparam("ahead"))
        return (
            update(delivery)
            .where(*theirs, *ahead, or_(c.due <= c.created, c.attempts > 0))
            .values(due=bindparam("now"), created=bindparam("now"))
        )
