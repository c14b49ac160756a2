"""Calls that an event loop must not wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def off_loop(name: str, function: Callable[[], T]) -> T:
    """Call in a thread of its own, and await the result.

    Not :func:`asyncio.to_thread`: its pool refuses work once the interpreter exits, which is when a script drains
    its mail. Whoever awaits this may give up; the thread then ends unheard.

    :param name: the thread's, for a person who looks at a dump.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def call() -> None:
        try:
            future.set_result(function())
        except Exception as error:  # it belongs to whoever awaits
            future.set_exception(error)
        except BaseException as error:  # SystemExit and its like would end the loop
            future.set_exception(RuntimeError(type(error).__name__))

    threading.Thread(target=call, name=name, daemon=True).start()
    return await asyncio.wrap_future(future)
