"""A lock that a fork renews: another thread may hold it then, and is not there in the child to give it back."""

from __future__ import annotations

import os
import threading
from weakref import WeakSet


class Lock:
    """For ``with``, as :class:`threading.Lock` is."""

    def __init__(self) -> None:
        self._renew()
        _locks.add(self)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


_locks: WeakSet[Lock] = WeakSet()


def _renew_all() -> None:
    for lock in list(_locks):
        lock._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
