"""``GET /healthz`` for what asks over HTTP: 200 while a worker is healthy, 503 when not, and JSON that says more.

A server for one page and for a prober, not for the internet: it reads one head of bounded size within bounded time,
answers, and closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .rounds import Look

#: Seconds that a request may take to arrive, and bytes that it may have.
_TIMEOUT, _LIMIT = 5.0, 8_192

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


def asked(head: bytes) -> tuple[str, int]:
    """The method of a request, and the status that it will get but for the state of health.

    :param head: up to the empty line.
    """
    line = head.partition(b"\r\n")[0].decode("ascii", "replace").split(" ")
    if len(line) != 3 or not line[2].startswith("HTTP/1."):
        return "", 400
    method, target, _ = line
    if target.partition("?")[0] != "/healthz":
        return method, 404
    return method, 200 if method in {"GET", "HEAD"} else 405


def answer(method: str, status: int, body: str) -> bytes:
    """A whole response; a HEAD gets no body."""
    content = body.encode()
    head = [
        f"HTTP/1.1 {status} {_REASONS[status]}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        "Cache-Control: no-store",
        *(["Allow: GET, HEAD"] if status == 405 else []),
        "Connection: close",
        "\r\n",
    ]
    return "\r\n".join(head).encode() + (b"" if method == "HEAD" else content)


@asynccontextmanager
async def health_page(look: Look, host: str, port: int) -> AsyncIterator[None]:
    """Answer while the context is open.

    :raises OSError: the port cannot be had.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.close()
            return
        method, status = asked(head)
        body = "{}"
        if status == 200:
            health = await look()
            status, body = 200 if health.healthy else 503, health.to_json()
        writer.write(answer(method, status, body + "\n"))
        writer.close()

    server = await asyncio.start_server(serve, host, port, limit=_LIMIT)
    try:
        yield
    finally:
        server.close()
