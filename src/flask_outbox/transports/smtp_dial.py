"""A TCP connection to whichever of a host's addresses answers first (RFC 8305), on any event loop."""

from __future__ import annotations

import asyncio
import socket
from asyncio import FIRST_COMPLETED
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

#: Seconds between two addresses of one host (RFC 8305 §5).
STAGGER = 0.25

#: What getaddrinfo says of one address.
_Info = tuple[int, int, int, str, Any]

_Attempt = asyncio.Future[socket.socket]


async def dial(host: str, port: int, source: str | None = None) -> socket.socket:
    """Connect; each address gets a head start, and what is slower is given up.

    :param source: this machine's address to connect from.
    :raises OSError: nobody answers, or there is no such host; of several addresses, the first one's.
    """
    loop, family = asyncio.get_running_loop(), socket.AF_UNSPEC
    if source is not None:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
    found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    return await _race([*_alternating(found)], source)


def _alternating(found: Sequence[_Info]) -> Iterator[_Info]:
    """By turns of one family and of the other, the preferred one first (RFC 8305 §4)."""
    first = [info for info in found if info[0] == found[0][0]]
    others = [info for info in found if info[0] != found[0][0]]
    for pair in zip_longest(first, others):
        yield from (info for info in pair if info is not None)


async def _race(found: Sequence[_Info], source: str | None) -> socket.socket:
    waiting, trying = deque(found), set[_Attempt]()
    failures: list[BaseException] = []
    try:
        while waiting or trying:
            if waiting:
                trying.add(asyncio.ensure_future(_connect(waiting.popleft(), source)))
            patience = STAGGER if waiting else None
            ended, _ = await asyncio.wait(trying, timeout=patience, return_when=FIRST_COMPLETED)
            for attempt in ended:
                trying.remove(attempt)
                if (failure := attempt.exception()) is None:
                    return attempt.result()
                failures.append(failure)
        raise failures[0]
    finally:
        for attempt in trying:
            attempt.cancel()
            attempt.add_done_callback(_close)


def _close(attempt: _Attempt) -> None:
    """One that answered too late."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _connect(info: _Info, source: str | None) -> socket.socket:
    family, kind, protocol, _, address = info
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        if source is not None:
            sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
