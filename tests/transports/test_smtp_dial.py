"""Whichever of a host's addresses answers first."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from flask_outbox.transports.smtp_dial import _alternating, dial
from servers.process import free_port

from .sending import on_each_loop, run

V4, V6 = socket.AF_INET, socket.AF_INET6


class Naming(asyncio.SelectorEventLoop):
    """A loop for which a host has the addresses that a test gives it."""

    def __init__(self, *addresses: tuple[str, int]) -> None:
        super().__init__()
        self._addresses = addresses

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        assert host == "mail.example.org"
        return [
            (V6 if ":" in address else V4, socket.SOCK_STREAM, 0, "", (address, port))
            for address, port in self._addresses
        ]


def reached(*addresses: tuple[str, int], **given: Any) -> Any:
    """The port at the other end."""

    async def main() -> Any:
        with await dial("mail.example.org", 25, **given) as sock:
            return sock.getpeername()[1]

    with asyncio.Runner(loop_factory=lambda: Naming(*addresses)) as runner:
        return runner.run(main())


@pytest.fixture
def port() -> Iterator[int]:
    """Somebody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    """Somebody listens there who has his hands full and answers nobody."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_one_that_answers_is_taken(port: int) -> None:
    assert reached(("127.0.0.1", port)) == port


def test_one_that_refuses_gives_way_to_the_next(port: int) -> None:
    assert reached(("127.0.0.1", free_port()), ("127.0.0.1", port)) == port


def test_one_that_says_nothing_does_not_keep_the_next_waiting(silent: int, port: int) -> None:
    assert reached(("127.0.0.1", silent), ("127.0.0.1", port)) == port


def test_where_nobody_answers_the_error_is_the_first_ones() -> None:
    with pytest.raises(ConnectionRefusedError):
        reached(("127.0.0.1", free_port()), ("255.255.255.255", 25))


def test_giving_up_leaves_no_socket_open(silent: int) -> None:
    async def main() -> None:
        async with asyncio.timeout(0.3):
            await dial("mail.example.org", 25)

    addresses = [("127.0.0.1", silent)] * 2
    with (
        pytest.raises(TimeoutError),
        asyncio.Runner(loop_factory=lambda: Naming(*addresses)) as runner,
    ):
        runner.run(main())


@on_each_loop
def test_it_comes_from_the_address_that_was_asked_for(port: int) -> None:
    async def main() -> Any:
        with await dial("127.0.0.1", port, "127.0.0.3") as sock:
            return sock.getsockname()[0]

    assert run(main()) == "127.0.0.3"


@on_each_loop
def test_a_host_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(socket.gaierror):
        run(dial("nobody.invalid", 25))


def test_the_families_take_turns_and_the_preferred_one_begins() -> None:
    found = [(family, 0, 0, "", number) for number, family in enumerate([V6, V6, V6, V4])]
    assert [info[4] for info in _alternating(found)] == [0, 3, 1, 2]
