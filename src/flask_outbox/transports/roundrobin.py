"""Several roads in turn: each letter takes the one that had none for longest, and fails over from there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from .base import Transport
from .failover import FailoverTransport


class RoundRobinTransport(FailoverTransport):
    """The roads share the letters evenly; one that is set aside has none, and the others share its part."""

    def __init__(self, roads: Mapping[str, Transport], **more: Any) -> None:
        super().__init__(roads, **more)
        self.concurrency = sum(road.concurrency for road in roads.values())
        self.kept = sum(road.kept for road in roads.values())
        self._next_turn = count(1)
        self._turns = dict.fromkeys(roads, 0)

    def _preferred(self) -> Iterable[str]:
        return sorted(self._roads, key=self._turns.__getitem__)

    def _begin(self, name: str) -> None:
        self._turns[name] = next(self._next_turn)
        super()._begin(name)
