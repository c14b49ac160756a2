"""The SMTP transport against servers that others wrote."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from flask_outbox.mail.address import Address
from flask_outbox.mail.letter import Letter, Part
from flask_outbox.mail.mime import compose
from flask_outbox.rules.outcomes import Kind, Phase, Report, Scope
from servers.postfix import Postfix
from servers.smtp_sink import SmtpSink

from .sending import deliver, facts, letter, letters, only, road_to, send


def settings(server: Postfix, **more: Any) -> dict[str, Any]:
    return {
        "host": "localhost",
        "username": server.username,
        "password": server.password,
        "tls": "required",
        "tls_ca": str(server.ca_file),
        **more,
    }


def by_smtplib(server: Postfix, sender: str, to: Sequence[str], *contents: bytes) -> None:
    with smtplib.SMTP("localhost", server.port, timeout=30) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(server.ca_file)))
        client.login(server.username, server.password)
        for content in contents:
            client.sendmail(sender, to, content)


def as_sent(message: bytes) -> bytes:
    """A message from a maildir without the lines that Postfix puts before it."""
    lines = message.split(b"\n")
    traces = (b"Return-Path:", b"X-Original-To:", b"Delivered-To:", b"Received:", b"\t", b" ")
    while lines[0].startswith(traces):
        del lines[0]
    return b"\n".join(lines)


# Complete, so that Postfix adds nothing.
HEAD = (
    "From: me@example.org\r\nDate: Sun, 15 Jun 2025 15:06:40 +0000\r\n"
    "Message-ID: <{}@example.org>\r\nSubject: x\r\n\r\n"
)
BODIES = [
    b".\r\n..\r\n.dot\r\nend.\r\n.\r\n",
    b"no line end",
    "Dönerstraße ✓\r\n".encode(),
    b"",
    b"x" * 900 + b"\r\n" + (b"y" * 70 + b"\r\n") * 3000,
]
CONTENTS = [HEAD.format(number).encode() + body for number, body in enumerate(BODIES)]


def test_the_same_bytes_arrive_as_by_smtplib(postfix: Postfix) -> None:
    sender, to = "me@example.org", ["you@example.net"]
    by_smtplib(postfix, sender, to, *CONTENTS)
    expected = sorted(map(as_sent, postfix.messages(len(CONTENTS))))
    batch = [letter(number, raw=content) for number, content in enumerate(CONTENTS)]
    reports = deliver(postfix.port, *batch, **settings(postfix))
    assert all(report.all_accepted for report in reports)
    arrived = sorted(map(as_sent, postfix.messages(2 * len(CONTENTS))))
    assert arrived == sorted(expected * 2)


def test_a_composed_letter_arrives_as_it_was_composed(postfix: Postfix) -> None:
    a_letter = Letter(
        id="1",
        message_id="<1@example.org>",
        date=1_750_000_000,
        envelope_from="me@example.org",
        envelope_to=("you@example.net", "hidden@example.net"),
        sender=Address("me@example.org", "Jürgen"),
        subject="Grüße ✓",
        to=(Address("you@example.net"),),
        text="Dot:\n.\nUmlaut: ü\n",
        html="<p>Hello</p>",
        attachments=(Part("a.bin", "application/octet-stream", bytes(range(256)) * 20),),
    )
    (report,) = deliver(postfix.port, a_letter, **settings(postfix))
    assert report.all_accepted
    for message in postfix.messages(2):
        assert as_sent(message) == compose(a_letter).replace(b"\r\n", b"\n")


def test_the_id_is_the_one_in_the_servers_log(postfix: Postfix) -> None:
    (report,) = deliver(postfix.port, letter(), **settings(postfix))
    postfix.messages(1)
    assert only(report).remote_id
    assert f"{only(report).remote_id}: removed" in postfix.log.read_text() or (
        f"{only(report).remote_id}: from=<me@example.org>" in postfix.log.read_text()
    )


def test_implicit_tls_works_too(postfix: Postfix) -> None:
    (report,) = deliver(postfix.tls_port, letter(), **settings(postfix, tls="implicit"))
    assert report.all_accepted


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"])
def test_each_mechanism_lets_in_who_knows_the_password(mechanism: str, postfix: Postfix) -> None:
    given = settings(postfix, auth_mechanisms=(mechanism,))
    (known,) = deliver(postfix.port, letter(), **given)
    (unknown,) = deliver(postfix.port, letter(), **{**given, "password": "wrong"})
    assert known.all_accepted
    assert facts(unknown) == (Kind.REFUSED, Scope.ACCOUNT, Phase.BEFORE)


def test_recipients_beyond_postfixs_limit_get_further_transactions(
    start_postfix: Callable[..., Postfix],
) -> None:
    server = start_postfix(settings={"smtpd_recipient_limit": "20"})
    to = [f"{n}@example.net" for n in range(50)]
    (report,) = deliver(server.port, letter(to=to), **settings(server))
    assert report.all_accepted
    arrived = b"".join(server.messages(50))
    assert all(f"X-Original-To: {address}\n".encode() in arrived for address in to)


def test_a_wrong_password_is_the_accounts_fault(postfix: Postfix) -> None:
    (report,) = deliver(postfix.port, letter(), **settings(postfix, password="wrong"))
    assert facts(report) == (Kind.REFUSED, Scope.ACCOUNT, Phase.BEFORE)


def test_a_stranger_is_refused(postfix: Postfix) -> None:
    (report,) = deliver(postfix.port, letter())
    assert facts(report) == (Kind.REFUSED, Scope.RECIPIENT, Phase.BEFORE)


def test_addresses_outside_ascii_arrive(postfix: Postfix) -> None:
    (report,) = deliver(postfix.port, letter(to=["jürgen@example.net"]), **settings(postfix))
    assert report.all_accepted
    assert "jürgen@example.net".encode() in postfix.messages(1)[0]


def test_one_refused_recipient_does_not_stop_the_others(
    start_postfix: Callable[..., Postfix],
) -> None:
    server = start_postfix(refuse={"gone@example.net": "550 5.1.1 Gone away"})
    both = letter(to=["gone@example.net", "here@example.net"])
    (report,) = deliver(server.port, both, **settings(server))
    refused, accepted = report.outcomes.values()
    assert (refused.kind, refused.enhanced) == (Kind.REFUSED, "5.1.1")
    assert accepted.accepted
    assert len(server.messages(1)) == 1


def test_letters_to_nobody_do_not_hold_up_the_others(start_postfix: Callable[..., Postfix]) -> None:
    server = start_postfix(refuse={"gone@example.net": "550 5.1.1 Gone away"})
    batch = [letter(n, ["gone@example.net" if n % 2 else "here@example.net"]) for n in range(10)]
    reports = deliver(server.port, *batch, **settings(server))
    assert [report.all_accepted for report in reports] == [True, False] * 5
    assert len(server.messages(5)) == 5


def test_a_letter_over_the_servers_size_is_refused(start_postfix: Callable[..., Postfix]) -> None:
    server = start_postfix(message_size_limit=50_000)
    large = letter(raw=b"Subject: x\r\n\r\n" + b"x" * 70 * 1000)
    (report,) = deliver(server.port, large, **settings(server))
    assert facts(report) == (Kind.REFUSED, Scope.MESSAGE, Phase.BEFORE)


def test_smtp_sink_takes_two_hundred_letters_over_four_connections(smtp_sink: SmtpSink) -> None:
    async def main() -> tuple[list[Report], int]:
        async with road_to(smtp_sink.port, pool_size=4) as road:
            reports = await asyncio.gather(*(send(road, a_letter) for a_letter in letters(200)))
            return reports, len(road._connections)

    reports, connections = asyncio.run(main())
    assert all(report.all_accepted for report in reports)
    assert connections == 4
    subjects = {
        line
        for message in smtp_sink.messages(200)
        for line in message.split(b"\n")
        if line.startswith(b"Subject: ")
    }
    assert subjects == {f"Subject: {number}".encode() for number in range(1, 201)}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (("-q", "."), (Kind.UNKNOWN, Scope.TRANSPORT, Phase.AFTER)),
        (("-Q", "."), (Kind.DEFERRED, Scope.TRANSPORT, Phase.AFTER)),
        (("-f", "."), (Kind.REFUSED, Scope.MESSAGE, Phase.AFTER)),
        (("-r", "."), (Kind.DEFERRED, Scope.MESSAGE, Phase.AFTER)),
        (("-q", "DATA"), (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)),
        (("-f", "RCPT"), (Kind.REFUSED, Scope.RECIPIENT, Phase.BEFORE)),
        (("-r", "CONNECT"), (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)),
    ],
)
def test_smtp_sinks_faults_have_their_outcomes(
    fault: tuple[str, ...],
    expected: tuple[Kind, Scope, Phase],
    start_smtp_sink: Callable[..., SmtpSink],
) -> None:
    sink = start_smtp_sink(*fault)
    reports = deliver(sink.port, *letters(3))
    assert [facts(report) for report in reports] == [expected] * 3
