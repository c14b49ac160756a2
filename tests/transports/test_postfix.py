"""The SMTP transport against Postfix."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from flask_outbox.mail.address import Address
from flask_outbox.mail.letter import Part
from flask_outbox.mail.mime import compose
from flask_outbox.rules.outcomes import Kind, Phase, Scope
from servers.plugin import require
from servers.postfix import Postfix
from servers.process import wait_until

from .differing import BODIES, arrived, as_given, codes, fresh, smtplibs_codes
from .sending import deliver, facts, only

SIZE = 250_000


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    require("postfix")
    with Postfix(
        refuse={
            "gone@example.net": "550 5.1.1 Gone away",
            "grey@example.net": "450 4.7.1 Greylisted, try again in 300 seconds",
        },
        message_size_limit=SIZE,
        settings={"smtpd_recipient_limit": "20"},
    ) as server:
        yield server


def settings(server: Postfix, **more: Any) -> dict[str, Any]:
    return {
        "host": "localhost",
        "username": server.username,
        "password": server.password,
        "tls": "required",
        "tls_ca": str(server.ca_file),
        **more,
    }


@pytest.fixture
def client(postfix: Postfix) -> Iterator[smtplib.SMTP]:
    """smtplib, logged in."""
    with smtplib.SMTP("localhost", postfix.port, timeout=30) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(postfix.ca_file)))
        client.login(postfix.username, postfix.password)
        yield client


# -- the same as smtplib -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_same_bytes_arrive_as_by_smtplib(
    body: bytes, postfix: Postfix, client: smtplib.SMTP
) -> None:
    letter = fresh(body)
    theirs = smtplibs_codes(client, letter)
    (ours,) = deliver(postfix.port, letter, **settings(postfix))
    assert codes(ours) == theirs == {"you@example.net": 250}
    assert arrived(postfix.messages, letter, 2) == [as_given(letter)] * 2


@pytest.mark.parametrize(
    "to",
    [
        ["gone@example.net"],
        ["gone@example.net", "grey@example.net"],
        ["a@example.net", "gone@example.net", "b@example.net", "grey@example.net"],
        ["jürgen@example.net", "gone@example.net"],
    ],
)
def test_each_recipient_has_the_reply_that_smtplib_gets(
    to: list[str], postfix: Postfix, client: smtplib.SMTP
) -> None:
    letter = fresh(to=to)
    (report,) = deliver(postfix.port, letter, **settings(postfix))
    assert codes(report) == smtplibs_codes(client, letter)


def test_a_letter_over_the_servers_size_is_refused_as_for_smtplib(
    postfix: Postfix, client: smtplib.SMTP
) -> None:
    """Ours is not even begun: the limit was announced."""
    letter = fresh(b"x" * SIZE)
    (report,) = deliver(postfix.port, letter, **settings(postfix))
    assert facts(report) == (Kind.REFUSED, Scope.MESSAGE, Phase.BEFORE)
    assert smtplibs_codes(client, letter) == {"you@example.net": 552}


# -- what arrives ------------------------------------------------------------------------------------------------------


def test_a_composed_letter_arrives_as_it_was_composed(postfix: Postfix) -> None:
    letter = replace(
        fresh(to=["you@example.net", "hidden@example.net"]),
        raw=None,
        sender=Address("me@example.org", "Jürgen"),
        subject="Grüße ✓",
        to=(Address("you@example.net"),),
        text="Dot:\n.\nUmlaut: ü\n",
        html="<p>Hello</p>",
        attachments=(Part("a.bin", "application/octet-stream", bytes(range(256)) * 20),),
    )
    (report,) = deliver(postfix.port, letter, **settings(postfix))
    assert report.all_accepted
    composed = compose(letter).replace(b"\r\n", b"\n")
    assert arrived(postfix.messages, letter, 2) == [composed] * 2


def test_addresses_and_headers_outside_ascii_arrive(postfix: Postfix) -> None:
    letter = fresh(head="X-Name: Jürgen\r\n", to=["jürgen@example.net"])
    (report,) = deliver(postfix.port, letter, **settings(postfix))
    assert report.all_accepted
    assert arrived(postfix.messages, letter) == [as_given(letter)]
    assert "X-Original-To: jürgen@example.net".encode() in b"".join(postfix.messages(0))


def test_the_id_is_the_one_in_the_servers_log(postfix: Postfix) -> None:
    (report,) = deliver(postfix.port, letter := fresh(), **settings(postfix))
    arrived(postfix.messages, letter)
    assert f" {only(report).remote_id}: from=<me@example.org>" in postfix.log.read_text()


# -- recipients --------------------------------------------------------------------------------------------------------


def test_one_refused_recipient_does_not_stop_the_others(postfix: Postfix) -> None:
    letter = fresh(to=["gone@example.net", "here@example.net", "grey@example.net"])
    (report,) = deliver(postfix.port, letter, **settings(postfix))
    refused, accepted, deferred = report.outcomes.values()
    assert (refused.kind, refused.enhanced) == (Kind.REFUSED, "5.1.1")
    assert accepted.accepted
    assert (deferred.kind, deferred.retry_after) == (Kind.DEFERRED, 300)
    assert arrived(postfix.messages, letter) == [as_given(letter)]


def test_letters_to_nobody_do_not_hold_up_the_others(postfix: Postfix) -> None:
    batch = [fresh(to=["gone@example.net" if n % 2 else "here@example.net"]) for n in range(10)]
    reports = deliver(postfix.port, *batch, **settings(postfix))
    assert [report.all_accepted for report in reports] == [True, False] * 5
    for letter in batch[::2]:
        arrived(postfix.messages, letter)


def test_recipients_beyond_postfixs_limit_get_further_transactions(postfix: Postfix) -> None:
    letter = fresh(to=[f"{n}@example.net" for n in range(50)])
    (report,) = deliver(postfix.port, letter, **settings(postfix))
    assert report.all_accepted
    arrived(postfix.messages, letter, 50)
    named = b"".join(postfix.messages(0))
    assert all(f"X-Original-To: {to}\n".encode() in named for to in letter.envelope_to)


def test_twenty_letters_are_one_session_of_twenty_transactions(postfix: Postfix) -> None:
    """Postfix counts the commands of a session in its log."""
    reports = deliver(postfix.port, *(fresh() for _ in range(20)), **settings(postfix))
    assert all(report.all_accepted for report in reports)
    counted = "ehlo=2 starttls=1 auth=1 mail=20 rcpt=20 data=20 quit=1 commands=65"
    wait_until(lambda: counted in postfix.log.read_text(), f"{counted!r} in Postfix's log")


# -- TLS and the login -------------------------------------------------------------------------------------------------


def test_implicit_tls_works_too(postfix: Postfix) -> None:
    (report,) = deliver(postfix.tls_port, fresh(), **settings(postfix, tls="implicit"))
    assert report.all_accepted


def test_no_letter_goes_to_whom_the_authority_does_not_know(postfix: Postfix) -> None:
    (report,) = deliver(postfix.port, fresh(), **settings(postfix, tls_ca=None))
    assert facts(report) == (Kind.REFUSED, Scope.TRANSPORT, Phase.BEFORE)
    assert "certificate is not trusted" in only(report).text


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"])
def test_each_mechanism_lets_in_who_knows_the_password(mechanism: str, postfix: Postfix) -> None:
    given = settings(postfix, auth_mechanisms=(mechanism,))
    (known,) = deliver(postfix.port, fresh(), **given)
    (unknown,) = deliver(postfix.port, fresh(), **{**given, "password": "wrong"})
    assert known.all_accepted
    assert facts(unknown) == (Kind.REFUSED, Scope.ACCOUNT, Phase.BEFORE)


def test_a_stranger_is_refused(postfix: Postfix) -> None:
    (report,) = deliver(postfix.port, fresh())
    assert facts(report) == (Kind.REFUSED, Scope.RECIPIENT, Phase.BEFORE)
