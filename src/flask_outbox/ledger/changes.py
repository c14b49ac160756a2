"""What several statements change of a delivery, and what guards the change."""

from __future__ import annotations

from typing import Any

from sqlalchemy import FromClause, bindparam, null
from sqlalchemy.sql.elements import ColumnElement

from ..rules.states import State
from .tables import among, delivery, literal

SENDING = among(delivery, [State.SENDING])


def guard(given: FromClause) -> tuple[ColumnElement[bool], ...]:
    """Only of a delivery whose lease still is the one of the given claim."""
    return delivery.c.id == given.c.id, delivery.c.lease_token == given.c.token, SENDING


def freed() -> dict[str, ColumnElement[Any]]:
    """It is in nobody's hands."""
    return {"lease_token": null(), "worker_id": null()}


def requeued() -> dict[str, ColumnElement[Any]]:
    """It waits again, due now."""
    return {"state": literal(State.QUEUED), "due": bindparam("now"), **freed()}
