"""The bell of a server database: what that tells of sends at their commit. It only saves waiting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ..errors import OutboxError
from ..ledger.notifications import Notifications
from .loop import ThreadQueue

logger = logging.getLogger("flask_outbox")

#: Seconds between two tries to connect.
_PAUSE = 10.0


class News:
    """Rung by the database itself."""

    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications
        self._listening: asyncio.Task[None] | None = None

    def listen(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], object]) -> None:
        """Call ``wake`` whenever there is news."""
        self._listening = loop.create_task(self._listen(loop, wake))

    def deafen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop listening."""
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    async def _listen(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], object]) -> None:
        """Listen, for ever; whoever is cut off tries again."""
        opening = ThreadQueue("flask-outbox-news")
        try:
            while True:
                try:
                    descriptor = await opening.run(self._notifications.open)
                    if descriptor is None:
                        return
                    wake()  # what came before is not told again
                    await self._hear(loop, descriptor, wake)
                except OutboxError as error:
                    logger.debug(
                        "the database tells nothing of sends, the poll finds them: %s", error
                    )
                    await asyncio.sleep(_PAUSE)
        finally:
            self._notifications.close()
            opening.stop()

    async def _hear(
        self, loop: asyncio.AbstractEventLoop, descriptor: int, wake: Callable[[], object]
    ) -> None:
        """:raises OutboxError: the connection is lost."""
        readable = asyncio.Event()
        loop.add_reader(descriptor, readable.set)
        try:
            while True:
                await readable.wait()
                readable.clear()
                if self._notifications.heard():
                    wake()
        finally:
            loop.remove_reader(descriptor)
