"""A road to a server that is cut at a moment that a test chooses: what was sent has arrived, the answer has not."""

from __future__ import annotations

import asyncio
import threading
from typing import Self


class CuttingProxy:
    """Hands on what is said between clients and a server; a context manager.

    :param port: the server's, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self._server = port
        self._words = b""
        #: How many connections were cut.
        self.cuts = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def cut_behind(self, words: bytes) -> None:
        """Cut the next connection by which a client says this at last, once the server has answered to it."""
        self._words = words

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20), "the proxy did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._talks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        there, hither = await asyncio.open_connection("127.0.0.1", self._server)
        answering = asyncio.create_task(self._hand_on(there, writer))
        try:
            while said := await reader.read(1 << 16):
                if self._words and said.rstrip(b"\0").endswith(self._words):
                    self._words = b""
                    await self._cut(said, answering, there, hither)
                    return
                hither.write(said)
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            self._talks.discard(talk)
            answering.cancel()
            for one in (writer, hither):
                one.transport.abort()

    async def _hand_on(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while said := await there.read(1 << 16):
                writer.write(said)
        except ConnectionError:
            return
        writer.close()

    async def _cut(
        self,
        said: bytes,
        answering: asyncio.Task[None],
        there: asyncio.StreamReader,
        hither: asyncio.StreamWriter,
    ) -> None:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        hither.write(said)
        assert await there.read(1 << 16), "the server has closed it before"
        self.cuts += 1
