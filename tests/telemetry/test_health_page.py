"""``GET /healthz``, as a prober sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from flask_outbox.telemetry.health import DRAINING, STUCK, Health
from flask_outbox.telemetry.health_page import answer, asked, health_page
from servers.process import free_port

WELL = Health(DRAINING, 1, 1000.0, 0.5)
Asking = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("GET /healthz HTTP/1.1", ("GET", 200)),
        ("HEAD /healthz?from=probe HTTP/1.0", ("HEAD", 200)),
        ("POST /healthz HTTP/1.1", ("POST", 405)),
        ("GET / HTTP/1.1", ("GET", 404)),
        ("GET /healthz", ("", 400)),
        ("\x16\x03\x01", ("", 400)),
    ],
)
def test_only_a_get_or_head_of_healthz_is_answered(line: str, found: tuple[str, int]) -> None:
    assert asked(f"{line}\r\nHost: x\r\n\r\n".encode()) == found


def test_the_answer_to_a_head_has_the_length_of_the_body_without_it() -> None:
    whole, head = answer("GET", 200, "{}\n"), answer("HEAD", 200, "{}\n")
    assert whole == head + b"{}\n"
    assert b"Content-Length: 3\r\n" in head


def ask(health: Health, request: bytes) -> bytes:
    """What is answered, up to the end of the connection."""
    port = free_port()

    async def look() -> Health:
        return health

    async def go() -> bytes:
        async with health_page(look, "127.0.0.1", port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            try:
                return await asyncio.wait_for(reader.read(), 20)
            finally:
                writer.close()

    return asyncio.run(go())


def test_a_healthy_worker_answers_200_with_its_state() -> None:
    head, _, body = ask(WELL, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body)["state"] == DRAINING


@pytest.mark.parametrize("ill", [{"tick": STUCK}, {"ledger": "disk gone"}])
def test_a_worker_that_is_not_well_answers_503_with_the_reason(ill: dict[str, object]) -> None:
    said = ask(replace(WELL, **ill), b"GET /healthz HTTP/1.1\r\n\r\n")  # type: ignore[arg-type]
    assert said.startswith(b"HTTP/1.1 503 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2]).items() >= {"healthy": False, **ill}.items()


def test_a_request_without_end_is_cut_off() -> None:
    assert ask(WELL, b"GET /healthz HTTP/1.1\r\n" + b"x" * 20_000) == b""
