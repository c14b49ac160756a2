"""The statements that only read, for people and their tools.

What they cost: a message by its id, the newest messages, those of a tag, those that wait for a person, and each count
are bounded, however many rows there are. So is the list of what is live: up to :data:`FEW` it is sorted; where it is
more, a page is met soon on the way from the newest on. Not bounded are the lists by another state or by transport,
which pass over every newer message that does not match.
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
    or_,
    select,
    true,
)
from sqlalchemy.sql.expression import exists

from ..rules.states import ATTENTION, LIVE, RecipientState, State
from .cipher import HEAD
from .tables import (
    among,
    attempt,
    batch_letter,
    delivery,
    letter,
    letter_tag,
    limit,
    literal,
    recipient,
    worker,
)

#: How far a count goes.
CAP = 100_000

#: How many live messages a list of them sorts.
FEW = 10_000

_NOW = bindparam("now", type_=BigInteger)
_ENV = delivery.c.env == bindparam("env")


_REFUSED = exists().where(
    recipient.c.letter_id == delivery.c.letter_id,
    recipient.c.part == delivery.c.part,
    recipient.c.state == literal(RecipientState.REFUSED),
)

_LATER = delivery.c.due > _NOW

#: What a list can be narrowed to, as the stored state and what there is besides: the states, and the words shown.
_WORDS: dict[str, tuple[State, tuple[ColumnElement[bool], ...]]] = {
    **{state.value: (state, ()) for state in State},
    "scheduled": (State.QUEUED, (_LATER, delivery.c.attempts == 0)),
    "retrying": (State.QUEUED, (_LATER, delivery.c.attempts > 0)),
    "partly sent": (State.SENT, (_REFUSED,)),
    "expired": (State.DEAD, (delivery.c.reason == literal("expired"),)),
    "suppressed": (State.CANCELLED, (delivery.c.reason == literal("suppressed"),)),
}


def _held(state: State) -> ColumnElement[bool]:
    """The condition of the index that holds a state, if one does."""
    if state is State.SENDING:
        other = delivery.alias("in_hand")
        return delivery.c.id.in_(select(other.c.id).where(among(other, [state])))
    held = next((states for states in (LIVE, ATTENTION) if state in states), None)
    return true() if held is None else among(delivery, held)


#: Those words as conditions, for a walk along the ids.
ALONG = {
    word: and_(delivery.c.state == literal(state), *besides)
    for word, (state, besides) in _WORDS.items()
}

#: The same, for the index that holds the state.
CONDITIONS = {word: and_(_held(state), ALONG[word]) for word, (state, _) in _WORDS.items()}

#: Those that the live index holds.
QUEUED = frozenset(word for word, (state, _) in _WORDS.items() if state is State.QUEUED)


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


def messages(
    *, state: str | None, transport: str | None, tag: str | None = None, many: bool = False
) -> Executable:
    """The newest ``limit`` messages whose ids are less than ``before``.

    :param many: whether more than :data:`FEW` are live.
    """
    page, line = select(delivery.c.id).where(_ENV), delivery.c.letter_id
    if tag is not None:
        line = letter_tag.c.letter_id
        page = page.join(letter_tag, line == delivery.c.letter_id)
        page = page.where(letter_tag.c.tag == bindparam("tag"))
    # Without the bound SQLite would look for each state of the index and sort.
    page = page.where(line < bindparam("before"))
    if state is not None:
        along = tag is not None or (many and state in QUEUED)
        page = page.where((ALONG if along else CONDITIONS)[state])
    if transport is not None:
        page = page.where(delivery.c.transport == bindparam("transport"))
    newest = page.order_by(line.desc())
    return _messages(newest.limit(bindparam("limit", type_=Integer)))


def more_than_few_live() -> Executable:
    """A row, if that many are live."""
    return select(delivery.c.id).where(_ENV, among(delivery, LIVE)).limit(1).offset(FEW)


def of_batch() -> Executable:
    """The next letters of a batch."""
    c = batch_letter.c
    these = (c.batch_id == bindparam("batch"), c.position > bindparam("after"))
    order = select(c.position, c.letter_id).where(*these).order_by(c.position)
    return order.limit(bindparam("limit", type_=Integer))


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


def closings() -> Executable:
    """The lanes that are closed for a while, and the transports that failed at the last try."""
    c = limit.c
    closed = or_(c.opens > _NOW, c.failures > 0)
    found = select(c.lane, c.opens, c.failures).where(c.env == bindparam("env"), closed)
    return found.order_by(c.lane)


def workers() -> Executable:
    """The workers that have not said that they ended."""
    mine = worker.c.env == bindparam("env")
    return select(worker).where(mine).order_by(worker.c.started)


def content_heads() -> Executable:
    """How the contents of the newest letters begin, as far as it depends on their key, and how many do so."""
    head = func.substr(letter.c.content, 1, HEAD).label("head")
    kept = letter.c.content.is_not(None)
    newest = select(head).where(kept).order_by(letter.c.id.desc()).limit(CAP).subquery()
    return select(newest.c.head, func.count().label("number")).group_by(newest.c.head)
