"""A short campaign on each database; ``./dev campaign`` fights the long ones."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import pytest

from campaign.campaign import Campaign, Outcome, Plan, seed_of_today
from campaign.databases import UNSOUND
from campaign.faults import STEPS
from journeys.accounting import AccountingServer, When
from servers.plugin import require

#: Few of each, and none that lasts for longer than a lease.
SHORT = {"kill": 5, "sender": 1, "drop": 4, "cut": 2, "restart": 1, "exhaust": 1, "full": 1}

#: What is no fault of a database, or none that can be made everywhere: a disk is mounted by root.
ELSEWHERE = {
    "sqlite": {"cut", "restart", "exhaust", "full"},
    "postgresql": {"full"},
    "mariadb": {"full"},
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kind", "more"),
    # A worker that is stopped takes seconds; one database is enough for that.
    [("sqlite", {}), ("postgresql", {"freeze": 1}), ("mariadb", {})],
    ids=["sqlite", "postgresql", "mariadb"],
)
def test_nothing_is_lost_or_finished_twice_and_little_is_repeated(
    kind: str, more: dict[str, int], tmp_path: Path
) -> None:
    if kind != "sqlite":
        require({"postgresql": "postgres", "mariadb": "mariadb"}[kind])
    faults = {name: SHORT[name] for name in SHORT if name not in UNSOUND.get(kind, ())} | more
    plan = Plan(kind, 2, faults, seed_of_today(), between=20, longest=1.0)
    outcome = Campaign(plan, tmp_path).fight()
    assert outcome.kept, outcome
    assert {*outcome.strikes} >= {*faults} - ELSEWHERE[kind]


def test_a_broken_promise_is_noticed() -> None:
    plan = Plan("sqlite", 1, {"kill": 1}, seed=0)
    kept = Outcome(plan, accepted=10)
    assert kept.kept
    for broken in ("lost", "finished_twice", "repeated", "differing", "unsaid", "left"):
        outcome = Outcome(plan, accepted=10)
        setattr(outcome, broken, 1)
        assert not outcome.kept


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("step", STEPS)
def test_the_mail_server_drops_a_connection_at_the_step_and_moment_it_is_told(
    step: str, when: When
) -> None:
    told = [when]
    with AccountingServer(on_step=lambda at: told.pop() if at == step and told else None) as server:
        heard = _converse(server.port)
        assert not told
        assert len(server.copies) == (step == "CONTENT")
        assert _converse(server.port) == REPLIES
    before = REPLIES[: min(STEPS.index(step), len(REPLIES) - 1)]
    last = {When.BEHIND: REPLIES[len(before)], When.FAREWELL: b"421 4.3.2 Shutting down"}
    assert heard == before + ([last[when]] if when in last and step != "MIDDLE" else [])


#: The last line of each reply, from the greeting to that of a content.
REPLIES = [
    b"220 accounting.example ESMTP",
    b"250 8BITMIME",
    b"250 Ok",
    b"250 Ok",
    b"354 go on",
    b"250 2.0.0 Ok",
]

_COMMANDS = (
    b"EHLO here\r\n",
    b"MAIL FROM:<a@example.org>\r\n",
    b"RCPT TO:<b@example.org>\r\n",
    b"DATA\r\n",
    b"Message-ID: <1@example.org>\r\n\r\nHello\r\n.\r\n",
)


def _converse(port: int) -> list[bytes]:
    """The last line of each reply that came as a whole, until the server ends it."""
    heard: list[bytes] = []
    with (
        socket.create_connection(("127.0.0.1", port), 20) as line,
        line.makefile("rb") as replies,
        suppress(ConnectionError),
    ):
        for command in (*_COMMANDS, b""):
            while (reply := replies.readline())[3:4] == b"-":
                continue
            if not reply.endswith(b"\n"):
                break
            heard.append(reply.strip())
            line.sendall(command)
    return heard
