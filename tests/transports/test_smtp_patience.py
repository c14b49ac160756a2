"""How long each phase is waited for (RFC 5321 §4.5.3.2), by a clock that leaps to when nothing happens any more."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from flask_outbox.rules.outcomes import Report
from leaping import Leaping
from servers.scripted import CAPABILITIES, Gate, ScriptedServer

from .sending import letter, letters, only, road_to, send

LARGE = letter(raw=b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 1_000_000)


def silenced(
    step: str, server: ScriptedServer, gate: Gate, **settings: Any
) -> tuple[Report, float]:
    """Send to a server that falls silent at a step; the report, and the seconds that it was waited for."""
    loop = Leaping()

    async def main() -> tuple[Report, float]:
        async with road_to(server.port, **settings) as road:
            sending = asyncio.create_task(send(road, LARGE if step == "MIDDLE" else letter()))
            await gate.reached()
            since, loop.may_leap = loop.time(), True
            report = await sending
            loop.may_leap = False
            waited = loop.time() - since
            gate.open()
            return report, waited

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        ("GREETING", 300),
        ("EHLO", 300),
        ("MAIL", 300),
        ("RCPT", 300),
        ("DATA", 120),
        ("MIDDLE", 180),
        ("CONTENT", 600),
    ],
)
def test_each_phase_is_waited_for_as_long_as_the_rfc_says(step: str, seconds: int) -> None:
    gate = Gate()
    with ScriptedServer(["SIZE 100000000"], script={step: gate}) as server:
        report, waited = silenced(step, server, gate)
    assert f"{seconds} s" in only(report).text
    assert waited > seconds - 1


@pytest.mark.parametrize(("step", "seconds"), [("MAIL", 300), ("CONTENT", 600)])
def test_with_pipelining_it_is_no_shorter(step: str, seconds: int) -> None:
    gate = Gate()
    with ScriptedServer(CAPABILITIES, script={step: gate}) as server:
        report, _ = silenced(step, server, gate)
    assert f"no reply within {seconds} s" in only(report).text


@pytest.mark.parametrize("step", ["EHLO", "DATA", "MIDDLE", "CONTENT"])
def test_what_is_set_is_enough_for_every_phase(step: str) -> None:
    gate = Gate()
    with ScriptedServer(["SIZE 100000000"], script={step: gate}) as server:
        report, _ = silenced(step, server, gate, timeout=7)
    assert "7 s" in only(report).text


def test_a_handshake_is_waited_for_a_minute(server_tls: ssl.SSLContext) -> None:
    gate = Gate()
    script = {"STARTTLS": ("220 Go ahead", gate)}
    with ScriptedServer(tls=server_tls, script=script) as server:
        report, waited = silenced("STARTTLS", server, gate, tls="required", tls_verify=False)
    assert "TLS failed" in only(report).text
    assert waited > 59


def test_a_connection_is_waited_for_ten_seconds() -> None:
    async def main(loop: Leaping, port: int) -> Report:
        async with road_to(port) as road:
            loop.may_leap = True
            report = await send(road, letter())
            loop.may_leap = False  # the end of the loop waits for threads, by the same clock
            return report

    with ExitStack() as opened:
        full = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = full.getsockname()
        for _ in range(3):
            caller = opened.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(address)
        loop = Leaping()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            report = runner.run(main(loop, address[1]))
    assert "no connection within 10 s" in only(report).text


# -- which address -----------------------------------------------------------------------------------------------------


class Naming(asyncio.SelectorEventLoop):
    """A loop for which every host has these addresses, and of them only those of IPv4 ever answer."""

    def __init__(self, addresses: Sequence[str]) -> None:
        super().__init__()
        self._addresses = addresses

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        return [
            (
                socket.AF_INET6 if ":" in one else socket.AF_INET,
                socket.SOCK_STREAM,
                0,
                "",
                (one, port),
            )
            for one in self._addresses
        ]

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        if sock.family == socket.AF_INET6:
            await asyncio.Event().wait()
        await super().sock_connect(sock, address)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 on this machine")
def test_letters_go_by_ipv4_where_ipv6_is_dead() -> None:
    async def main(port: int) -> list[Report]:
        async with road_to(port, host="mail.example.org", pool_size=2) as road:
            return await asyncio.gather(*(send(road, one) for one in letters(4)))

    with (
        ScriptedServer() as server,
        asyncio.Runner(loop_factory=lambda: Naming(["::1", "127.0.0.1"])) as runner,
    ):
        reports = runner.run(main(server.port))
    assert all(report.all_accepted for report in reports)


def test_localhost_is_found_where_only_127_0_0_1_listens() -> None:
    async def main(port: int) -> Report:
        async with road_to(port, host="localhost") as road:
            return await send(road, letter())

    with ScriptedServer() as server:
        assert asyncio.run(main(server.port)).all_accepted
