"""The states of a delivery and of a recipient, as tables. The diagram in the docs is drawn from them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class State(StrEnum):
    """The stored state of a delivery."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    UNCERTAIN = "uncertain"
    HELD = "held"
    DEAD = "dead"
    CANCELLED = "cancelled"


class RecipientState(StrEnum):
    """The stored state of one envelope recipient."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"
    SUPPRESSED = "suppressed"


#: What may follow what. A missing pair is an error in the caller.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.SENDING, State.HELD, State.DEAD, State.CANCELLED}),
    State.SENDING: frozenset(
        {State.QUEUED, State.SENT, State.UNCERTAIN, State.HELD, State.DEAD, State.CANCELLED}
    ),
    State.SENT: frozenset(),
    State.UNCERTAIN: frozenset({State.QUEUED, State.SENT, State.DEAD}),
    State.HELD: frozenset({State.QUEUED, State.CANCELLED}),
    State.DEAD: frozenset({State.QUEUED}),
    State.CANCELLED: frozenset({State.QUEUED}),
}

#: Deliveries that a worker may still claim: what the live index holds.
LIVE = (State.QUEUED, State.SENDING)

#: Deliveries that wait for a person.
ATTENTION = (State.UNCERTAIN, State.HELD, State.DEAD)

#: Deliveries that are over.
ENDED = (State.SENT, State.DEAD, State.CANCELLED)


def shown(state: str, *, due: float, now: float, attempts: int, reason: str, refused: int) -> str:
    """The word a person sees: the stored state, told apart further where that helps.

    :param due: when the delivery is due, in Unix seconds.
    :param refused: how many of its recipients were refused.
    """
    if state == State.QUEUED and due > now:
        return "retrying" if attempts else "scheduled"
    if state == State.SENT and refused:
        return "partly sent"
    if state == State.DEAD and reason == "expired":
        return "expired"
    if state == State.CANCELLED and reason == "suppressed":
        return "suppressed"
    return str(state)


def ends_as(states: Iterable[RecipientState]) -> State:
    """The end of a delivery none of whose recipients is open.

    One that may or may not have the mail needs a person, whatever became of the others.
    """
    found = set(states)
    if RecipientState.UNCERTAIN in found:
        return State.UNCERTAIN
    if RecipientState.ACCEPTED in found:
        return State.SENT
    if found == {RecipientState.SUPPRESSED}:
        return State.CANCELLED
    return State.DEAD
