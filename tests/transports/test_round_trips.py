"""Round trips, counted by the server: how often it has to wait for the client.

With PIPELINING, L letters on a connection cost L + 1, whatever their recipients are and whatever becomes of them:
the envelope of the first one, then each content with the envelope of the next one. Without, a letter costs MAIL, one
RCPT a recipient, DATA and the content. A new connection adds its greeting and EHLO, STARTTLS two more, AUTH one or
three, QUIT one.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Sequence
from typing import Any

import pytest

from flask_outbox.mail.letter import Letter
from flask_outbox.rules.outcomes import Kind
from servers.scripted import CAPABILITIES, Item, ScriptedServer

from .sending import deliver, letter, letters, on_each_loop, road_to, run, send

LOCKSTEP = [keyword for keyword in CAPABILITIES if keyword != "PIPELINING"]
OPENING = [["GREETING"], ["EHLO"]]
LEAVE = [["QUIT"]]
NOBODY = "550 5.1.1 Nobody"

LETTERS = [1, 2, 10]
RECIPIENTS = [1, 2, 50]

#: Which of a letter's recipients are refused.
WHO = ["none", "every third", "all but the last"]


def people(count: int) -> list[str]:
    return [f"{n}@example.net" for n in range(count)]


def refusing(refused: list[str]) -> dict[str, Item | list[Item]]:
    return {f"RCPT {to}": NOBODY for to in refused}


def some(to: list[str], which: str) -> list[str]:
    """Those who are refused."""
    return {"none": [], "every third": to[2::3], "all but the last": to[:-1]}[which]


# -- with PIPELINING ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("recipients", RECIPIENTS)
@pytest.mark.parametrize("count", LETTERS)
def test_letters_cost_one_each_and_one_more(count: int, recipients: int, who: str) -> None:
    to = people(recipients)
    refused = some(to, who)
    with ScriptedServer(script=refusing(refused)) as server:
        reports = deliver(server.port, *letters(count, to))
    envelope = ["MAIL", *["RCPT"] * recipients, "DATA"]
    (session,) = server.sessions
    assert session.trips == [
        *OPENING,
        envelope,
        *[["CONTENT", *envelope]] * (count - 1),
        ["CONTENT"],
        *LEAVE,
    ]
    for report in reports:
        assert {one for one, outcome in report if outcome.kind is Kind.REFUSED} == set(refused)


@pytest.mark.parametrize("recipients", RECIPIENTS)
@pytest.mark.parametrize("count", LETTERS)
def test_letters_for_nobody_cost_one_each(count: int, recipients: int) -> None:
    """There is no content, and RSET goes with the next envelope."""
    to = people(recipients)
    with ScriptedServer(script=refusing(to)) as server:
        deliver(server.port, *letters(count, to))
    envelope = ["MAIL", *["RCPT"] * recipients, "DATA"]
    (session,) = server.sessions
    assert session.letter_trips == [envelope, *[["RSET", *envelope]] * (count - 1)]


@pytest.mark.parametrize("refused", ["MAIL", "DATA", "CONTENT"])
def test_a_refused_letter_costs_the_next_one_nothing(refused: str) -> None:
    with ScriptedServer(script={refused: ["554 5.7.1 No", None]}) as server:
        deliver(server.port, *letters(2))
    (session,) = server.sessions
    assert len(session.letter_trips) == 3


@on_each_loop
def test_letters_for_many_and_for_nobody_mix() -> None:
    with ScriptedServer(script={"RCPT": [None, NOBODY, None]}) as server:
        deliver(server.port, *letters(3))
    envelope = ["MAIL", "RCPT", "DATA"]
    (session,) = server.sessions
    assert session.letter_trips == [
        envelope,
        ["CONTENT", *envelope],
        ["RSET", *envelope],
        ["CONTENT"],
    ]


# -- without -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("recipients", RECIPIENTS)
@pytest.mark.parametrize("count", LETTERS)
def test_in_lockstep_a_letter_costs_its_recipients_and_three_more(
    count: int, recipients: int, who: str
) -> None:
    to = people(recipients)
    with ScriptedServer(LOCKSTEP, script=refusing(some(to, who))) as server:
        deliver(server.port, *letters(count, to))
    steps = ["MAIL", *["RCPT"] * recipients, "DATA", "CONTENT"]
    (session,) = server.sessions
    assert session.trips == [*OPENING, *[[step] for step in steps * count], *LEAVE]


@pytest.mark.parametrize("recipients", RECIPIENTS)
def test_in_lockstep_a_letter_for_nobody_costs_its_recipients_and_two_more(
    recipients: int,
) -> None:
    """DATA is not asked for, and each but the first one has to be preceded by RSET."""
    to = people(recipients)
    with ScriptedServer(LOCKSTEP, script=refusing(to)) as server:
        deliver(server.port, *letters(3, to))
    steps = ["MAIL", *["RCPT"] * recipients, "RSET"] * 3
    (session,) = server.sessions
    assert session.letter_trips == [[step] for step in steps[:-1]]


# -- a warm connection -------------------------------------------------------------------------------------------------


def one_by_one(port: int, batch: list[Letter], **settings: Any) -> None:
    """Each letter after the one before was accepted."""

    async def main() -> None:
        async with road_to(port, **settings) as road:
            for letter in batch:
                assert (await send(road, letter)).all_accepted

    run(main())


@on_each_loop
@pytest.mark.parametrize("recipients", RECIPIENTS)
def test_a_warm_connection_takes_a_letter_in_two(recipients: int) -> None:
    with ScriptedServer() as server:
        one_by_one(server.port, letters(3, people(recipients)))
    envelope = ["MAIL", *["RCPT"] * recipients, "DATA"]
    (session,) = server.sessions
    assert session.letter_trips == [envelope, ["CONTENT"]] * 3


def test_smtplib_takes_four_for_the_same() -> None:
    """What the server counts is what others cost too: the yardstick is not ours."""
    with ScriptedServer() as server:
        with smtplib.SMTP("127.0.0.1", server.port) as client:
            for _ in range(3):
                client.sendmail(
                    "me@example.org", ["you@example.net"], b"Subject: x\r\n\r\nBody\r\n"
                )
        (session,) = server.sessions
        assert session.letter_trips == [["MAIL"], ["RCPT"], ["DATA"], ["CONTENT"]] * 3


def test_a_batch_on_a_warm_connection_costs_one_each_and_one_more() -> None:
    async def main(port: int) -> None:
        async with road_to(port) as road:
            for _ in range(2):
                await asyncio.gather(*(send(road, letter) for letter in letters(10)))

    with ScriptedServer() as server:
        run(main(server.port))
    (session,) = server.sessions
    assert len(session.letter_trips) == 2 * (10 + 1)


# -- a cold one --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mechanism", "login"),
    [("PLAIN", ["LOGIN"]), ("LOGIN", ["CHALLENGE", "CHALLENGE", "LOGIN"])],
)
def test_tls_and_a_login_cost_what_they_cost_once(
    mechanism: str, login: list[str], server_tls: ssl.SSLContext
) -> None:
    """The handshake's own, one with TLS 1.3, are not among them."""
    with ScriptedServer(tls=server_tls, accounts={"me": "word"}, mechanisms=mechanism) as server:
        deliver(
            server.port,
            *letters(2),
            tls="required",
            tls_verify=False,
            username="me",
            password="word",
        )
    (session,) = server.sessions
    opening = ["GREETING", "EHLO", "STARTTLS", "EHLO", *login]
    assert session.trips[: len(opening)] == [[step] for step in opening]
    assert len(session.letter_trips) == 3


@pytest.mark.parametrize("pool_size", [1, 2])
def test_letters_on_new_connections_cost_the_openings_and_one_each(pool_size: int) -> None:
    """Each connection has its own opening, and the letters after its first one come for one."""
    with ScriptedServer() as server:
        deliver(server.port, *letters(20), pool_size=pool_size)
    trips = sum(len(session.letter_trips) for session in server.sessions)
    assert trips == 20 + len(server.sessions)
    assert len(server.sessions) <= pool_size


# -- LMTP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipients", RECIPIENTS)
def test_over_lmtp_every_recipients_verdict_comes_in_the_same_round_trip(recipients: int) -> None:
    with ScriptedServer(lmtp=True) as server:
        deliver(server.port, *letters(2, people(recipients)), lmtp=True)
    envelope = ["MAIL", *["RCPT"] * recipients, "DATA"]
    verdicts = ["CONTENT"] * recipients
    (session,) = server.sessions
    assert session.letter_trips == [envelope, [*verdicts, *envelope], verdicts]


# -- in writes ---------------------------------------------------------------------------------------------------------


class Counted(asyncio.SelectorEventLoop):
    """A loop that notes what each write to a socket begins and ends with.

    A server on this machine has often got two writes by the time it looks: only here is it seen that they were two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[tuple[bytes, bytes]] = []

    async def create_connection(  # type: ignore[override]  # whatever it is called with
        self, protocol_factory: Any, *args: Any, **options: Any
    ) -> Any:
        def counted() -> Any:
            protocol = protocol_factory()
            made = protocol.connection_made
            protocol.connection_made = lambda transport: made(_Counting(transport, self.writes))
            return protocol

        return await super().create_connection(counted, *args, **options)


class _Counting:
    def __init__(self, transport: asyncio.Transport, writes: list[tuple[bytes, bytes]]) -> None:
        self._transport = transport
        self._writes = writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes | memoryview) -> None:
        if words := bytes(data).split():
            self._writes.append((words[0], words[-1]))
        self._transport.write(data)


def written(capabilities: Sequence[str], batch: list[Letter]) -> list[tuple[bytes, bytes]]:
    """Send letters at the same time; the writes from the first MAIL on, without QUIT."""
    loop = Counted()

    async def main(port: int) -> None:
        async with road_to(port) as road:
            await asyncio.gather(*(send(road, letter) for letter in batch))

    with (
        ScriptedServer(capabilities) as server,
        asyncio.Runner(loop_factory=lambda: loop) as runner,
    ):
        runner.run(main(server.port))
    first = next(at for at, (word, _) in enumerate(loop.writes) if word == b"MAIL")
    return loop.writes[first:-1]


@pytest.mark.parametrize("recipients", RECIPIENTS)
@pytest.mark.parametrize("count", LETTERS)
def test_an_envelope_is_a_write_and_so_is_a_content_with_the_next_envelope(
    count: int, recipients: int
) -> None:
    between = [(b"Subject:", b"DATA")] * (count - 1)
    assert written(CAPABILITIES, letters(count, people(recipients))) == [
        (b"MAIL", b"DATA"),
        *between,
        (b"Subject:", b"."),
    ]


def test_a_large_content_and_what_follows_it_are_writes_of_their_own() -> None:
    """It is known then whether its end has left, which for a small one costs more than it is worth."""
    large = [letter(number, raw=b"Subject: large\r\n\r\n" + b"x" * 998 * 400) for number in (1, 2)]
    writes = written(CAPABILITIES, large)
    assert [last for _, last in writes].count(b"DATA") == 2
    assert (b"Subject:", b"DATA") not in writes


def test_in_lockstep_each_command_is_a_write() -> None:
    words = [first for first, _ in written(LOCKSTEP, letters(2))]
    assert words == [b"MAIL", b"RCPT", b"DATA", b"Subject:"] * 2
