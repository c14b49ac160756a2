"""The statements that only read, for people and their tools.

What they cost: a message by its id, the newest messages, those that wait for a person, and each count are bounded,
however many rows there are. Not bounded are the lists of live messages, which sort all that are live, and the lists
by another state or by transport, which pass over every newer message that does not match.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Integer,
    Select,
    and_,
    bindparam,
    func,
    select,
)
from sqlalchemy.sql.expression import exists

from ..rules.states import ATTENTION, LIVE, RecipientState, State
from .tables import among, attempt, delivery, letter, limit, literal, recipient, worker

#: How far a count goes.
CAP = 100_000

_NOW = bindparam("now", type_=BigInteger)
_ENV = delivery.c.env == bindparam("env")


def _stored(state: State) -> ColumnElement[bool]:
    """Rows in that state; with the condition of the index that holds it, if one does."""
    is_it = delivery.c.state == literal(state)
    held = next((states for states in (LIVE, ATTENTION) if state in states), None)
    return is_it if held is None else and_(among(delivery, held), is_it)


_REFUSED = exists().where(
    recipient.c.letter_id == delivery.c.letter_id,
    recipient.c.part == delivery.c.part,
    recipient.c.state == literal(RecipientState.REFUSED),
)

#: What a list can be narrowed to: the stored states, and the words shown besides.
CONDITIONS: dict[str, ColumnElement[bool]] = {
    **{state.value: _stored(state) for state in State},
    "scheduled": and_(_stored(State.QUEUED), delivery.c.due > _NOW, delivery.c.attempts == 0),
    "retrying": and_(_stored(State.QUEUED), delivery.c.due > _NOW, delivery.c.attempts > 0),
    "partly sent": and_(_stored(State.SENT), _REFUSED),
    "expired": and_(_stored(State.DEAD), delivery.c.reason == literal("expired")),
    "suppressed": and_(_stored(State.CANCELLED), delivery.c.reason == literal("suppressed")),
}


def _messages(page: Select[int]) -> Executable:
    """The messages of the deliveries with those ids, newest first."""
    d, it = delivery.c, letter.c
    which = page.subquery("page")
    shown = (d.letter_id, d.part, d.state, d.reason, d.transport, d.priority, d.due, d.expires)
    about = (it.message_id, it.sender, it.subject, it.size, it.created)
    return (
        select(*shown, d.attempts, d.finished, *about)
        .join_from(which, delivery, d.id == which.c.id)
        .join(letter, it.id == d.letter_id)
        .order_by(d.letter_id.desc(), d.part)
    )


def message() -> Executable:
    """One message, by ``id``."""
    return _messages(select(delivery.c.id).where(delivery.c.letter_id == bindparam("id")))


def messages(*, state: str | None, transport: str | None) -> Executable:
    """The newest ``limit`` messages whose ids are less than ``before``."""
    # Without the bound SQLite would look for each state of the index and sort.
    page = select(delivery.c.id).where(_ENV, delivery.c.letter_id < bindparam("before"))
    if state is not None:
        page = page.where(CONDITIONS[state])
    if transport is not None:
        page = page.where(delivery.c.transport == bindparam("transport"))
    newest = page.order_by(delivery.c.letter_id.desc())
    return _messages(newest.limit(bindparam("limit", type_=Integer)))


def recipients() -> Executable:
    """The recipients of the letters with the given ``ids``."""
    of = recipient.c.letter_id.in_(bindparam("ids", expanding=True))
    return select(recipient).where(of).order_by(recipient.c.letter_id, recipient.c.position)


def attempts() -> Executable:
    """The tries of the letters with the given ``ids``, oldest first."""
    return (
        select(attempt)
        .where(attempt.c.letter_id.in_(bindparam("ids", expanding=True)))
        .order_by(attempt.c.letter_id, attempt.c.id)
    )


def live_counts() -> Executable:
    """How many live ones there are, by what :func:`~flask_outbox.rules.states.shown` asks for."""
    some = (
        select(delivery.c.state, delivery.c.due, delivery.c.attempts)
        .where(_ENV, among(delivery, LIVE))
        .limit(CAP)
        .subquery()
    )
    kinds = (some.c.state, (some.c.due > _NOW).label("later"), (some.c.attempts > 0).label("tried"))
    return select(*kinds, func.count().label("number")).group_by(*kinds)


def attention_counts() -> Executable:
    """How many wait for a person, by state."""
    waiting = select(delivery.c.state).where(_ENV, among(delivery, ATTENTION)).limit(CAP).subquery()
    return select(waiting.c.state, func.count().label("number")).group_by(waiting.c.state)


def ended_counts() -> Executable:
    """How many of the newest ended otherwise, by state."""
    newest = (
        select(delivery.c.state).where(_ENV).order_by(delivery.c.id.desc()).limit(CAP).subquery()
    )
    ended = newest.c.state.in_([literal(State.SENT), literal(State.CANCELLED)])
    return (
        select(newest.c.state, func.count().label("number")).where(ended).group_by(newest.c.state)
    )


def waiting_count() -> Executable:
    """How many of a lane are live and due until ``until``."""
    lane = [delivery.c[name] == bindparam(name) for name in ("lane", "priority")]
    due = delivery.c.due <= bindparam("until", type_=BigInteger)
    some = select(delivery.c.id).where(_ENV, among(delivery, LIVE), *lane, due).limit(CAP)
    return select(func.count()).select_from(some.subquery())


def pauses() -> Executable:
    """The lanes that are paused."""
    paused = (limit.c.env == bindparam("env"), limit.c.paused.is_not(None))
    return select(limit.c.lane, limit.c.reason).where(*paused).order_by(limit.c.lane)


def workers() -> Executable:
    """The workers that have not said that they ended."""
    mine = worker.c.env == bindparam("env")
    return select(worker).where(mine).order_by(worker.c.started)
