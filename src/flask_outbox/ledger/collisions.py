"""Transactions that stood in each other's way: the database ends one of them, which may simply be run again."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError

from ..errors import OutboxError

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")

#: How often it is run in all.
TRIES = 5

#: PostgreSQL's for a failed serialization and a deadlock; MySQL's for a deadlock, and for a row that changed meanwhile.
_COLLIDED = {"40001", "40P01", 1213, 1020}


def collided(error: BaseException | None) -> bool:
    """Whether it was raised for what may be run again."""
    while error is not None:
        said = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(said, "sqlstate", None) or getattr(said, "pgcode", None)
        if (code or (said.args[0] if said and said.args else None)) in _COLLIDED:
            return True
        error = error.__cause__
    return False


def repeated(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Run it again where it collided; it must be a transaction of its own, as a whole."""

    @wraps(method)
    def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(TRIES - 1):
            try:
                return method(self, *args, **kwargs)
            except OutboxError as error:
                if not collided(error):
                    raise
        return method(self, *args, **kwargs)

    return run
