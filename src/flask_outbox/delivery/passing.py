"""Transports that letters bring along as URLs: made when the first one comes, kept a while for those that follow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..transports.base import Transport

logger = logging.getLogger("flask_outbox")

MOST = 32
IDLE = 60.0


@dataclass(eq=False, slots=True)
class _Kept:
    """One of them.

    :param users: how many letters it has.
    :param since: when it got the last one back.
    """

    transport: Transport
    users: int = 0
    since: float = 0.0


class PassingRoads:
    """Those of one event loop, by URL.

    :param make: a transport of its URL.
    :param most: how many are kept; there are more only while all of them are in use.
    :param idle: seconds without a letter after which one is closed.
    """

    def __init__(
        self, make: Callable[[str], Transport], *, most: int = MOST, idle: float = IDLE
    ) -> None:
        self._make = make
        self._most = most
        self._idle = idle
        #: In the order of their last use.
        self._kept: dict[str, _Kept] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def spare(self) -> int:
        """How many more there could be at once."""
        return self._most - sum(kept.users > 0 for kept in self._kept.values())

    def get(self, url: str) -> Transport | None:
        """The one of that URL, if it is there."""
        kept = self._kept.get(url)
        return kept.transport if kept else None

    @contextmanager
    def use(self, url: str) -> Iterator[Transport]:
        """The one of that URL for one letter, during which it is not closed.

        :raises ConfigurationError: it cannot be made; a MessageError, too, says so.
        """
        kept = self._kept.pop(url, None) or _Kept(self._make(url))
        self._kept[url] = kept
        kept.users += 1
        self._close_surplus()
        try:
            yield kept.transport
        finally:
            kept.users -= 1
            kept.since = asyncio.get_running_loop().time()
            self._close_surplus()
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(self._idle, self._close_idle)

    async def aclose(self) -> None:
        """Close all of them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for url in list(self._kept):
            self._close(url)
        if self._closing:
            await asyncio.wait(self._closing)

    def _close_surplus(self) -> None:
        """Let the one that was not used for longest go, where there are too many."""
        unused = [url for url, kept in self._kept.items() if not kept.users]
        for url in unused[: max(0, len(self._kept) - self._most)]:
            self._close(url)

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() - self._idle
        for url, kept in list(self._kept.items()):
            if not kept.users and kept.since <= until:
                self._close(url)
        unused = [kept.since for kept in self._kept.values() if not kept.users]
        # One that is in use asks for the timer itself, when it gets its letter back.
        self._timer = loop.call_at(min(unused) + self._idle, self._close_idle) if unused else None

    def _close(self, url: str) -> None:
        closing = asyncio.get_running_loop().create_task(_close(self._kept.pop(url).transport))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _close(transport: Transport) -> None:
    try:
        await transport.aclose()
    except Exception:
        # A bug in a plug-in must not keep the others open.
        logger.exception("a transport did not close")
