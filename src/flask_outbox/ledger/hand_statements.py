"""The statements by which workers come and go, and those of what is done by hand."""

from __future__ import annotations

from sqlalchemy import (
    String,
    bindparam,
    case,
    delete,
    exists,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.sql.elements import ClauseElement

from ..rules.states import RecipientState, State
from .changes import SENDING, requeued
from .driver import Compiled, compiled, parameters
from .tables import among, delivery, letter, limit, literal, recipient, worker


class WorkerStatements(Compiled):
    """Those of workers."""

    @compiled
    def rescue_all(self) -> ClauseElement:
        freed = {**requeued(), "rescues": delivery.c.rescues + 1}
        return update(delivery).where(SENDING).values(**freed)

    @compiled
    def rescue(self) -> ClauseElement:
        """Free what the given workers had in hand."""
        given = self.given({"id": String})
        theirs = (SENDING, delivery.c.worker_id == given.c.id)
        freed = {**requeued(), "rescues": delivery.c.rescues + 1}
        return update(delivery).where(*theirs).values(**freed)

    @compiled
    def insert_worker(self) -> ClauseElement:
        return (
            insert(worker).values(parameters("id env role host boot_id pid started beat")).inline()
        )

    @compiled
    def beat(self) -> ClauseElement:
        mine = worker.c.id == bindparam("worker")
        return update(worker).where(mine).values(beat=bindparam("now"))

    @compiled
    def workers_here(self) -> ClauseElement:
        here = (worker.c.host == bindparam("host"), worker.c.boot_id == bindparam("boot"))
        return select(worker.c.id, worker.c.pid).where(*here)

    @compiled
    def remove_workers(self) -> ClauseElement:
        given = self.given({"id": String})
        return delete(worker).where(self.one_of(worker.c.id, given.c.id))

    @compiled
    def remove_other_workers(self) -> ClauseElement:
        return delete(worker).where(worker.c.id != bindparam("worker"))


class HandStatements(Compiled):
    """Those of people."""

    @compiled
    def pause(self) -> ClauseElement:
        """A person's pause replaces a worker's, and not the other way round."""
        return self.upsert(
            limit,
            "env lane paused paused_by reason",
            "env lane",
            "reason paused_by paused",
            lambda new: or_(limit.c.paused.is_(None), new.paused_by == literal("person")),
        )

    @compiled
    def resume(self) -> ClauseElement:
        by = bindparam("by", type_=String())
        mine = [limit.c[name] == bindparam(name) for name in ("env", "lane")]
        lifted = or_(by == literal(""), limit.c.paused_by == by)
        return (
            update(limit)
            .where(*mine, limit.c.paused.is_not(None), lifted)
            .values(paused=null(), paused_by=literal(""), reason=literal(""))
        )

    @compiled
    def resume_all(self) -> ClauseElement:
        by = bindparam("by", type_=String())
        theirs = (limit.c.env == bindparam("env"), or_(by == literal(""), limit.c.paused_by == by))
        return (
            update(limit)
            .where(*theirs, limit.c.paused.is_not(None))
            .values(paused=null(), paused_by=literal(""), reason=literal(""))
        )

    @compiled
    def cancel(self) -> ClauseElement:
        waiting = among(delivery, [State.QUEUED, State.HELD])
        return (
            update(delivery)
            .where(delivery.c.letter_id == bindparam("letter"), waiting)
            .values(
                state=literal(State.CANCELLED), reason=literal("by hand"), finished=bindparam("now")
            )
        )

    @compiled
    def hold(self) -> ClauseElement:
        held = {"state": literal(State.HELD), "reason": bindparam("reason")}
        its = (delivery.c.letter_id == bindparam("letter"), among(delivery, [State.QUEUED]))
        return update(delivery).where(*its).values(**held)

    @compiled
    def release_held(self) -> ClauseElement:
        """Back into the queue as it was, with the tries it had; not before it was to be sent."""
        its = (delivery.c.letter_id == bindparam("letter"), among(delivery, [State.HELD]))
        tried = case((delivery.c.attempts > 0, literal("released")), else_=literal(""))
        return update(delivery).where(*its).values(state=literal(State.QUEUED), reason=tried)

    @compiled
    def retry(self) -> ClauseElement:
        """Back into the queue as if it were new: no try counted, no expiry. Not without its content."""
        full = exists().where(letter.c.id == delivery.c.letter_id, letter.c.content.is_not(None))
        over = among(delivery, [State.UNCERTAIN, State.HELD, State.DEAD, State.CANCELLED])
        return (
            update(delivery)
            .where(delivery.c.letter_id == bindparam("letter"), over, full)
            .values(**requeued(), reason=literal("by hand"), attempts=0, expires=null())
            .values(created=bindparam("now"), finished=null(), content_started=null())
        )

    @compiled
    def reopen(self) -> ClauseElement:
        """The recipients that a retry is for; who has the mail does not get it again."""
        failed = [literal(RecipientState.REFUSED), literal(RecipientState.UNCERTAIN)]
        return (
            update(recipient)
            .where(recipient.c.letter_id == bindparam("letter"), recipient.c.state.in_(failed))
            .values(state=literal(RecipientState.OPEN), updated=bindparam("now"))
        )
