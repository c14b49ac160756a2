"""A wire of a given length: a proxy on loopback that passes on every byte, later.

As a program: ``python -m benchmarks.delay PORT TO_PORT SECONDS``, the seconds being one way.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import cast

from servers.process import Process, free_port

from . import ROOT


class Delay:
    """The proxy as a process of its own.

    :param seconds: there and back.
    """

    def __init__(self, room: Path, to_port: int, seconds: float) -> None:
        self.port = free_port()
        arguments = [str(self.port), str(to_port), str(seconds / 2)]
        self._process = Process(
            [sys.executable, "-m", "benchmarks.delay", *arguments],
            ports=[self.port],
            log=room / "delay.log",
            env={"PYTHONPATH": str(ROOT / "tests")},
            cwd=ROOT,
        )

    def __enter__(self) -> Delay:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()


class _End(asyncio.Protocol):
    """One end of a connection; what it receives leaves at the other end."""

    def __init__(self, seconds: float) -> None:
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None
        self._seconds = seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self._seconds, self._pass_on, data)

    def connection_lost(self, exc: Exception | None) -> None:
        asyncio.get_running_loop().call_later(self._seconds, self._pass_on, b"")

    def _pass_on(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            return
        if data:
            self.other.transport.write(data)
        else:
            self.other.transport.close()


class _Entrance(_End):
    """The end at the client; it opens the other one."""

    def __init__(self, seconds: float, to_port: int) -> None:
        super().__init__(seconds)
        self._to_port = to_port
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        exit_ = _End(self._seconds)
        exit_.other = self
        await asyncio.get_running_loop().create_connection(
            lambda: exit_, "127.0.0.1", self._to_port
        )
        self.other = exit_
        for data in self._waiting:
            self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        if self.other is None:
            self._waiting.append(data)
        else:
            super()._pass_on(data)


async def _serve(port: int, to_port: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Entrance(seconds, to_port), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
