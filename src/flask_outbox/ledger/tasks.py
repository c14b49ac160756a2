"""What task queues ask of an outbox: where single letters stand, and what is due that nobody may have been told of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..rules.relaying import Due
from ..rules.states import State
from .rows import millis, rows_of, seconds
from .statements import statements_for
from .store import Store


@dataclass(frozen=True, slots=True)
class Place:
    """Where a delivery stands. Moments are Unix seconds.

    :param due: of one that is being sent, when its lease ends.
    """

    letter_id: str
    lane: str
    priority: int
    state: State
    due: float


class TaskLedger:
    """An outbox, as task queues see it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._database = store.database

    def places(self, letters: Iterable[str]) -> list[Place]:
        """Where the deliveries of those letters stand; nothing of one that is not there."""
        asked = {"rows": rows_of(letters), "env": self._store.env}
        with self._database.glance() as line:
            found = list(statements_for(line.dialect).places(line, **asked))
        return [
            Place(row.letter_id, row.lane, row.priority, State(row.state), seconds(row.due))
            for row in found
        ]

    def head(self, lane: str, priority: int, now: float, limit: int) -> list[Due]:
        """The first deliveries of a lane that are due, whoever was told of them."""
        asked = {"env": self._store.env, "lane": lane, "priority": priority}
        with self._database.glance() as line:
            sql = statements_for(line.dialect)
            found = list(sql.head(line, **asked, now=millis(now), limit=limit))
        return [Due(row.id, row.letter_id, seconds(row.due), seconds(row.created)) for row in found]

    def relays(self, since: float) -> list[str]:
        """The ids of the relays that have shown a sign of life since then, the first one that started first."""
        with self._database.glance() as line:
            sql = statements_for(line.dialect)
            return [row.id for row in sql.relays(line, env=self._store.env, since=millis(since))]
