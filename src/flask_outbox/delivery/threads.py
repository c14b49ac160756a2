"""The sends of threads that an application starts, and the answers that wait for them.

Flask-Mail's tutorials send in a thread for each mail: ``Thread(target=send_async_email, args=(app, msg)).start()``.
The answer would mostly be out before that thread has stored anything, and a crash in between would lose a mail that
somebody was told of. Storing takes milliseconds, so an answer waits for the sends that have begun: ``start()``
returns when the thread runs, and it keeps the interpreter until it first waits for the disk.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

#: Seconds that an answer may wait: a database that hangs must not hang every page.
PATIENCE = 2.0


@dataclass(eq=False, slots=True)
class ThreadSend:
    """A send under way.

    :param request: the request it was begun in, which may be a thread's copy; None outside of any.
    :param done: locked until it has ended.
    """

    request: object | None
    thread: int
    done: threading.Lock


class ThreadSends:
    """The sends under way in one process."""

    def __init__(self) -> None:
        self._begun: set[ThreadSend] = set()

    @property
    def under_way(self) -> bool:
        """Whether there are any."""
        return bool(self._begun)

    def begin(self, request: object | None, *, elsewhere: bool = False) -> ThreadSend:
        """A send begins; it is handed to :meth:`end`, whatever happens.

        :param elsewhere: whether a thread of ours stores, and not this one.
        """
        thread = 0 if elsewhere else threading.get_ident()
        send = ThreadSend(request, thread, threading.Lock())
        send.done.acquire()
        self._begun.add(send)
        return send

    def end(self, send: ThreadSend) -> None:
        """The send has stored its letter, or has failed."""
        self._begun.discard(send)
        send.done.release()

    def wait(self, request: object | None) -> None:
        """Return when the sends of other threads that this request or none began have ended, or patience has."""
        if not self._begun:
            return
        end, here = time.monotonic() + PATIENCE, threading.get_ident()
        for send in list(self._begun):
            if send.thread != here and send.request in (None, request):
                if not send.done.acquire(timeout=max(0.0, end - time.monotonic())):
                    return
                send.done.release()
