"""The SMTP transport against Dovecot, over LMTP: a verdict for each recipient behind the content."""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flask_outbox.rules.outcomes import Kind, Phase, Scope
from journeys.outbox import Outbox
from servers.dovecot import Dovecot
from servers.plugin import require
from servers.process import wait_until

from .differing import BODIES, arrived, as_given, codes, fresh, smtplibs_lmtp_codes
from .sending import deliver, facts, only

ANN, BOB, FULL = "ann@example.org", "bob@example.org", "full@example.org"
NOBODY = "nobody@example.org"


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    require("dovecot")
    with Dovecot(ANN, BOB, full=FULL) as server:
        yield server


@pytest.fixture(params=["tcp", "unix"])
def where(request: pytest.FixtureRequest, dovecot: Dovecot) -> dict[str, Any]:
    """Its port, or its Unix socket."""
    return {"lmtp": True} | ({"socket": str(dovecot.socket)} if request.param == "unix" else {})


@pytest.fixture
def client(dovecot: Dovecot) -> Iterator[smtplib.LMTP]:
    with smtplib.LMTP("127.0.0.1", dovecot.port) as client:
        client.ehlo()  # a smtplib of its own says LHLO so
        yield client


def inbox(server: Dovecot, user: str) -> Callable[[int], list[bytes]]:
    return partial(server.messages, user)


# -- the same as smtplib -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_same_bytes_arrive_as_by_smtplib(
    body: bytes, dovecot: Dovecot, where: dict[str, Any], client: smtplib.LMTP
) -> None:
    letter = fresh(body, [ANN])
    theirs = smtplibs_lmtp_codes(client, letter)
    (ours,) = deliver(dovecot.port, letter, **where)
    assert codes(ours) == theirs == {ANN: 250}
    assert arrived(inbox(dovecot, ANN), letter, 2) == [as_given(letter)] * 2


@pytest.mark.parametrize(
    "to", [[FULL], [NOBODY], [ANN, FULL, BOB], [FULL, NOBODY, ANN], [NOBODY, BOB, FULL, ANN]]
)
def test_each_recipient_has_the_reply_that_smtplib_gets(
    to: list[str], dovecot: Dovecot, where: dict[str, Any], client: smtplib.LMTP
) -> None:
    letter = fresh(to=to)
    (report,) = deliver(dovecot.port, letter, **where)
    assert codes(report) == smtplibs_lmtp_codes(client, letter)


# -- verdicts ----------------------------------------------------------------------------------------------------------


def test_a_full_mailbox_is_its_owners_alone(dovecot: Dovecot, where: dict[str, Any]) -> None:
    letter = fresh(to=[ANN, FULL, BOB])
    (report,) = deliver(dovecot.port, letter, **where)
    refused = report.outcomes[FULL]
    assert (refused.kind, refused.scope, refused.phase, refused.enhanced) == (
        Kind.REFUSED,
        Scope.RECIPIENT,
        Phase.AFTER,
        "5.2.2",
    )
    for user in (ANN, BOB):
        assert report.outcomes[user].accepted
        assert arrived(inbox(dovecot, user), letter) == [as_given(letter)]


def test_whom_it_does_not_know_is_refused_before_the_content(
    dovecot: Dovecot, where: dict[str, Any]
) -> None:
    (report,) = deliver(dovecot.port, fresh(to=[NOBODY]), **where)
    assert facts(report) == (Kind.REFUSED, Scope.RECIPIENT, Phase.BEFORE)
    assert only(report).code == 550


@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelining", "lockstep"])
def test_many_letters_share_a_connection(
    pipelining: bool, dovecot: Dovecot, where: dict[str, Any]
) -> None:
    batch = [fresh(to=[ANN, NOBODY, FULL][n % 3 :]) for n in range(12)]
    reports = deliver(dovecot.port, *batch, pipelining=pipelining, **where)
    for letter, report in zip(batch, reports, strict=True):
        assert [to for to, outcome in report if outcome.accepted] == [
            to for to in letter.envelope_to if to == ANN
        ]
        if ANN in letter.envelope_to:
            assert arrived(inbox(dovecot, ANN), letter) == [as_given(letter)]


# -- from the outbox ---------------------------------------------------------------------------------------------------


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.sqlite")
    yield outbox
    outbox.store.dispose()


def test_one_accepted_and_one_refused_are_over_at_once(dovecot: Dovecot, outbox: Outbox) -> None:
    letter = fresh(to=[ANN, FULL])
    outbox.put(letter)
    outbox.work(dovecot.port, delay=3600.0, lmtp=True)
    view = outbox.view(letter)
    assert view.state == "partly sent"
    assert {one.address: one.state for one in view.recipients} == {ANN: "accepted", FULL: "refused"}
    assert arrived(inbox(dovecot, ANN), letter) == [as_given(letter)]


def test_a_retry_reaches_only_whose_mailbox_was_full_for_now(
    start_dovecot: Callable[..., Dovecot], outbox: Outbox
) -> None:
    server = start_dovecot(ANN, full=FULL, tempfail=True)
    letter = fresh(to=[ANN, FULL])
    outbox.put(letter)
    outbox.work(server.port, delay=3600.0, lmtp=True)
    assert {one.state for one in outbox.view(letter).recipients} == {"accepted", "open"}
    server.make_room()

    def sent() -> bool:
        outbox.make_due()
        outbox.work(server.port, delay=3600.0, lmtp=True)
        return outbox.view(letter).state == "sent"

    # Dovecot looks at its users once a second.
    wait_until(sent, "room in the mailbox that was full")
    for user in (ANN, FULL):
        assert arrived(inbox(server, user), letter) == [as_given(letter)]
