"""Transactions that stood in each other's way: the database ends one of them, which may simply be run again."""

from __future__ import annotations

import random
import time
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

#: Seconds before the second run, at most; twice as many before each further one.
_PAUSE = 0.02

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
    """Run it again, a little later, where it collided; it must be a transaction of its own, as a whole."""

    @wraps(method)
    def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        longest = _PAUSE
        for _ in range(TRIES - 1):
            try:
                return method(self, *args, **kwargs)
            except OutboxError as error:
                if not collided(error):
                    raise
            # The other one comes to its end meanwhile; two that were ended do not both come back at the same moment.
            time.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - no secret
            longest *= 2
        return method(self, *args, **kwargs)

    return run
