"""The letters that wait for a connection of a pool, and which connection may take one.

The rules:

1. Urgent letters stand before the others, which are called bulk here.
2. Of three connections or more, all but one carry bulk at a time: so an urgent letter finds one, or may open one.
3. Where one is kept, no urgent letter is sent behind a bulk content, which may take its time: another connection, or
   this one, comes free for it sooner.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from .smtp_job import Job

#: Connections from which on one is kept for urgent letters.
_ENOUGH = 3

C = TypeVar("C", bound=Hashable)


class Queue(Generic[C]):
    """The queue of one pool.

    :param connections: how many the pool may have.
    """

    def __init__(self, connections: int) -> None:
        #: Connections kept for urgent letters.
        self.kept = int(connections >= _ENOUGH)
        self._most = connections - self.kept
        self._urgent: deque[Job] = deque()
        self._bulk: deque[Job] = deque()
        #: The connections that carry bulk.
        self._carrying: set[C] = set()

    def add(self, job: Job) -> None:
        """One more."""
        (self._urgent if job.urgent else self._bulk).append(job)

    def put_back(self, job: Job) -> None:
        """One that was taken, before all others of its kind."""
        (self._urgent if job.urgent else self._bulk).appendleft(job)

    def empty(self) -> Iterator[Job]:
        """Take all, to be ended."""
        for line in (self._urgent, self._bulk):
            while line:
                yield line.popleft()

    def take(self, connection: C, before: Job | None = None) -> Job | None:
        """The next one that is wanted, for a connection.

        :param before: the letter whose content is under way on it.
        """
        if before is None or before.urgent:
            self._carrying.discard(connection)
        while line := self._line(connection, before):
            job = line.popleft()
            if job.wanted:
                self.given(connection, job)
                return job
            job.withdraw()
        return None

    def _line(self, connection: C, before: Job | None) -> deque[Job] | None:
        if not self._urgent:
            return self._bulk if self._has_place(connection) else None
        behind_bulk = before is not None and not before.urgent
        return None if self.kept and behind_bulk else self._urgent

    def given(self, connection: C, job: Job) -> None:
        """The connection carries that letter."""
        if not job.urgent:
            self._carrying.add(connection)

    def free(self, connection: C) -> None:
        """The connection carries nothing any more."""
        self._carrying.discard(connection)

    # -- who may take one ------------------------------------------------------------------------

    def _has_place(self, connection: C) -> bool:
        return connection in self._carrying or len(self._carrying) < self._most

    def has_for(self, connection: C) -> bool:
        """Whether one waits that the connection may take once its letter is done."""
        return bool(self._urgent or (self._bulk and self._has_place(connection)))

    @property
    def worth(self) -> int:
        """How many further connections could take one."""
        return len(self._urgent) + min(len(self._bulk), self._most - len(self._carrying))

    def behind(self, contents: set[C]) -> list[C]:
        """The connections behind whose content the next one may be sent, of those with a content under way."""
        if self._urgent:
            return list(contents - self._carrying if self.kept else contents)
        return list(contents if len(self._carrying) < self._most else contents & self._carrying)
