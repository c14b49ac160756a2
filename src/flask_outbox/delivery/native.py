"""Python's own threads, also where gevent has put greenlets in their place.

A greenlet of ours would share its thread's running event loop with the views, and everything would wait while it waits
for the disk; a fork would copy it, and it would go on in the child: sending over its parent's connections.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

#: Seconds, for a wait that ends. One without a limit gevent takes for a mistake where only another thread can end it.
FOREVER = 1e6


def start_thread(work: Callable[[], object], name: str) -> Callable[[float], object]:
    """Start a thread that does not keep the interpreter.

    :returns: what waits so many seconds for its end, and where there are greenlets lets others go on meanwhile.
    """
    if not _by_gevent():
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread.join
    ended: Future[None] = Future()

    def run() -> None:
        try:
            work()
        finally:
            ended.set_result(None)

    native("_thread", "start_new_thread")(run, ())
    return lambda timeout: wait([ended], timeout)


def here() -> Callable[..., Any]:
    """What calls a function for another thread where sockets may be used that this one has opened, and waits for it.

    Those of greenlets may be in the thread alone that has opened them; all others anywhere.
    """
    if not _by_gevent():
        return lambda function, *args: function(*args)
    gevent, ident = sys.modules["gevent"], native("_thread", "get_ident")
    hub, this = gevent.get_hub(), ident()

    def call(function: Callable[..., Any], *args: object) -> Any:
        if ident() == this:
            return function(*args)
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(function(*args))
            except BaseException as error:  # it belongs to whoever waits
                done.set_exception(error)

        hub.loop.run_callback_threadsafe(gevent.spawn, run)
        return done.result(FOREVER)

    return call


def native(module: str, name: str) -> Any:
    """What Python has under that name in an imported module, whatever gevent has put there."""
    if _by_gevent():
        return sys.modules["gevent.monkey"].get_original(module, name)
    return getattr(sys.modules[module], name)


def _by_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))
