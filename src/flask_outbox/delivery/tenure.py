"""The time in which a worker may drain an outbox: how it begins, how it ends, and what others left behind."""

from __future__ import annotations

from collections.abc import Sequence

from ..ledger.file import DrainerLock
from ..ledger.store import Claim, Store

#: What the workers of an outbox are.
DRAINER, TASKS, RELAY = "worker", "tasks", "relay"


class Tenure:
    """The right to work on one outbox.

    :param lock: the drainer's lock of a SQLite file; None where several may work at once.
    :param role: :data:`DRAINER`, or what it is besides.
    :param alone: whether whoever holds the lock is the only one who ever claims.
    """

    def __init__(
        self,
        store: Store,
        lock: DrainerLock | None = None,
        *,
        role: str = DRAINER,
        alone: bool = True,
    ) -> None:
        self._store = store
        self._lock = lock
        self._role = role
        self._alone = alone and lock is not None

    def acquire(self) -> bool:
        """Whether the outbox may be worked on now."""
        return self._lock is None or self._lock.acquire()

    def wanted(self) -> bool:
        """Whether it is time to give way."""
        return self._lock is not None and self._lock.wanted()

    def release(self) -> None:
        """Let others work."""
        if self._lock is not None:
            self._lock.release()

    def begin(self) -> str:
        """Say that there is one more, and mend what others have left; on the thread of the SQL.

        :returns: the id that it has in the outbox.
        :raises OutboxError: it cannot be.
        """
        store = self._store
        id = store.register_worker(store.now(), self._role)
        if self._alone:
            # All that is still marked as being sent, a dead one left behind.
            store.rescue_all(store.now())
        else:
            store.rescue_dead(store.now())
        if self._role == TASKS:
            return id  # of those there are many, and they come and go; the rest is the relay's
        store.batches.tidy(store.now(), groups=400)
        store.bring_forward(store.now())
        # Held for want of a key: whoever starts a worker may have added it.
        store.release_unread(store.now())
        # Paused for a fault of their accounts: whoever starts a worker may have mended it.
        store.resume_all(by="worker")
        store.reopen()
        return id

    def end(self, claims: Sequence[Claim] = ()) -> None:
        """Give back what is in hand, and say that there is one less; on the thread of the SQL.

        :raises OutboxError: it cannot be.
        """
        if claims:
            self._store.release(claims, self._store.now())
        self._store.unregister_worker()
