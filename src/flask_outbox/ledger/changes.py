"""What several statements change of a delivery, and what guards the change."""

from __future__ import annotations

from typing import Any

from sqlalchemy import FromClause, bindparam, func, null
from sqlalchemy.sql.elements import ColumnElement

from ..rules.states import State
from .tables import among, delivery, literal

SENDING = among(delivery, [State.SENDING])


def guard(given: FromClause) -> tuple[ColumnElement[bool], ...]:
    """Only of a delivery whose lease still is the one of the given claim."""
    # Not as the index of what is being sent has it: until PostgreSQL vacuums, that holds all that ever was.
    sending = func.coalesce(delivery.c.state, literal("")) == literal(State.SENDING)
    return delivery.c.id == given.c.id, delivery.c.lease_token == given.c.token, sending


def freed() -> dict[str, ColumnElement[Any]]:
    """It is in nobody's hands."""
    return {"lease_token": null(), "worker_id": null()}


def requeued() -> dict[str, ColumnElement[Any]]:
    """It waits again, due now."""
    return {"state": literal(State.QUEUED), "due": bindparam("now"), **freed()}
