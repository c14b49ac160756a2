"""The SMTP transport against Exim."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from flask_outbox.rules.outcomes import Kind, Phase, Scope
from servers.exim import Exim
from servers.plugin import require

from .differing import BODIES, arrived, as_given, codes, fresh, smtplibs_codes
from .sending import deliver, facts, only


@pytest.fixture(scope="module")
def exim() -> Iterator[Exim]:
    require("exim")
    with Exim(refuse={"gone@example.net": "no such person"}) as server:
        yield server


def settings(server: Exim, **more: Any) -> dict[str, Any]:
    return {
        "host": "localhost",
        "username": server.username,
        "password": server.password,
        "tls": "required",
        "tls_ca": str(server.ca_file),
        **more,
    }


@pytest.fixture
def client(exim: Exim) -> Iterator[smtplib.SMTP]:
    """smtplib, logged in."""
    with smtplib.SMTP("localhost", exim.port, timeout=30) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(exim.ca_file)))
        client.login(exim.username, exim.password)
        yield client


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_same_bytes_arrive_as_by_smtplib(body: bytes, exim: Exim, client: smtplib.SMTP) -> None:
    letter = fresh(body)
    theirs = smtplibs_codes(client, letter)
    (ours,) = deliver(exim.port, letter, **settings(exim))
    assert codes(ours) == theirs == {"you@example.net": 250}
    assert arrived(exim.messages, letter, 2) == [as_given(letter)] * 2


@pytest.mark.parametrize(
    "to",
    [
        ["gone@example.net"],
        ["gone@example.net", "a@example.net"],
        ["a@example.net", "gone@example.net", "b@example.net"],
        ["jürgen@example.net", "gone@example.net"],
    ],
)
def test_each_recipient_has_the_reply_that_smtplib_gets(
    to: list[str], exim: Exim, client: smtplib.SMTP
) -> None:
    letter = fresh(to=to)
    (report,) = deliver(exim.port, letter, **settings(exim))
    assert codes(report) == smtplibs_codes(client, letter)
    assert [o.kind for o in report.outcomes.values()] == [
        Kind.REFUSED if one == "gone@example.net" else Kind.ACCEPTED for one in to
    ]


def test_a_refused_recipient_does_not_stop_the_others(exim: Exim) -> None:
    letter = fresh(to=["a@example.net", "gone@example.net", "b@example.net"])
    (report,) = deliver(exim.port, letter, **settings(exim))
    refused = report.outcomes["gone@example.net"]
    assert (refused.scope, refused.phase) == (Scope.RECIPIENT, Phase.BEFORE)
    assert refused.text == "no such person"
    assert len(arrived(exim.messages, letter, 2)) == 2


def test_many_letters_go_ahead_of_replies_on_one_connection(exim: Exim) -> None:
    """Exim looks closely at what comes too soon (smtp_enforce_sync).

    It would keep those after the tenth of a connection for later (smtp_accept_queue_per_connection).
    """
    batch = [fresh(to=[("a", "gone")[n % 4 == 3] + "@example.net"]) for n in range(12)]
    reports = deliver(exim.port, *batch, **settings(exim))
    assert [report.all_accepted for report in reports] == [n % 4 != 3 for n in range(12)]
    for letter, report in zip(batch, reports, strict=True):
        if report.all_accepted:
            assert arrived(exim.messages, letter) == [as_given(letter)]


@pytest.mark.parametrize("mechanism", ["PLAIN", "CRAM-MD5"])
def test_each_mechanism_lets_in_who_knows_the_password(mechanism: str, exim: Exim) -> None:
    given = settings(exim, auth_mechanisms=(mechanism,))
    (known,) = deliver(exim.port, fresh(), **given)
    (unknown,) = deliver(exim.port, fresh(), **{**given, "password": "wrong"})
    assert known.all_accepted
    assert facts(unknown) == (Kind.REFUSED, Scope.ACCOUNT, Phase.BEFORE)
    assert only(unknown).code == 535


def test_a_stranger_is_refused(exim: Exim) -> None:
    (report,) = deliver(exim.port, fresh(), tls="never")
    assert facts(report) == (Kind.REFUSED, Scope.RECIPIENT, Phase.BEFORE)
    assert only(report).text == "relay not permitted"


def test_no_letter_goes_to_whom_the_authority_does_not_know(exim: Exim) -> None:
    (report,) = deliver(exim.port, fresh(), **settings(exim, tls_ca=None))
    assert facts(report) == (Kind.REFUSED, Scope.TRANSPORT, Phase.BEFORE)
    assert "certificate is not trusted" in only(report).text


def test_addresses_and_headers_outside_ascii_arrive(exim: Exim) -> None:
    """Both ways of sending: the parameters are the same."""
    for pipelining in (True, False):
        letter = fresh(head="X-Name: Jürgen\r\n", to=["jürgen@example.net"])
        (report,) = deliver(exim.port, letter, **settings(exim, pipelining=pipelining))
        assert report.all_accepted
        assert arrived(exim.messages, letter) == [as_given(letter)]


def test_the_id_is_exims_own(exim: Exim) -> None:
    (report,) = deliver(exim.port, fresh(), **settings(exim))
    assert (
        f" {only(report).remote_id} <= me@example.org" in (exim.folder / "log/mainlog").read_text()
    )
