"""LMTP (RFC 2033): a content has a reply for each recipient that was accepted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_outbox.rules.outcomes import Kind, Phase, Scope
from flask_outbox.transports.smtp_lmtp import LmtpProtocol
from flask_outbox.transports.smtp_protocol import Envelope, ProtocolError
from flask_outbox.transports.smtp_states import Command, State
from servers.scripted import CAPABILITIES, DROP, ScriptedServer

from .conversing import ENVELOPE, GREETING, hear
from .sending import deliver, facts, letter, letters, only

THREE = ["a@example.net", "b@example.net", "c@example.net"]


def opened() -> LmtpProtocol:
    protocol = LmtpProtocol()
    hear(protocol, GREETING)
    assert protocol.send(Command.LHLO, "client.example") == b"LHLO client.example\r\n"
    hear(protocol, b"250-mail.example\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES\r\n")
    return protocol


# -- without a socket --------------------------------------------------------------------------------------------------


def test_lhlo_tells_what_the_server_can() -> None:
    assert opened().capabilities == {"PIPELINING": "", "ENHANCEDSTATUSCODES": ""}


def test_a_content_has_as_many_replies_as_recipients_were_accepted() -> None:
    protocol = opened()
    protocol.envelope(ENVELOPE)
    hear(protocol, b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    protocol.content(b"")
    assert protocol.verdicts == 2
    assert hear(protocol, b"250 ok\r\n452 full\r\n") == [("VERDICT", 250), ("VERDICT", 452)]
    assert protocol.state is State.READY


def test_refused_recipients_have_no_reply_to_the_content() -> None:
    protocol = opened()
    protocol.envelope(ENVELOPE)
    hear(protocol, b"250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n")
    protocol.content(b"")
    assert hear(protocol, b"250 ok\r\n") == [("VERDICT", 250)]
    with pytest.raises(ProtocolError, match="a reply to nothing"):
        hear(protocol, b"250 ok\r\n")


def test_the_next_envelope_may_follow_the_content() -> None:
    protocol = opened()
    protocol.envelope(ENVELOPE)
    hear(protocol, b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    protocol.content(b"")
    protocol.envelope(Envelope("", ("c@example.net",), size=1))
    heard = hear(protocol, b"250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    assert [name for name, _ in heard] == ["VERDICT", "VERDICT", "MAIL", "RCPT", "DATA"]
    protocol.content(b"")
    assert protocol.verdicts == 1


def test_no_content_follows_a_verdict() -> None:
    """Several verdicts fit where one was heard, which must not let a content through."""
    protocol = opened()
    protocol.envelope(ENVELOPE)
    hear(protocol, b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    protocol.content(b"")
    hear(protocol, b"250 ok\r\n250 ok\r\n")
    with pytest.raises(RuntimeError, match="the content without the reply to DATA"):
        protocol.content(b"")


def test_354_for_nobody_is_an_error_because_nothing_would_follow() -> None:
    protocol = opened()
    protocol.envelope(ENVELOPE)
    with pytest.raises(ProtocolError, match="354 although no recipient was accepted"):
        hear(protocol, b"250 ok\r\n550 no\r\n550 no\r\n354 go\r\n")


# -- over a connection -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capabilities", [CAPABILITIES, ["SIZE"]], ids=["pipelining", "lockstep"])
def test_each_recipient_has_a_verdict_of_its_own(capabilities: list[str]) -> None:
    verdicts = ["250 2.0.0 Ok", "552 5.2.2 Mailbox full", "450 4.2.0 Busy"]
    with ScriptedServer(capabilities, lmtp=True, script={"CONTENT": verdicts}) as server:
        (report,) = deliver(server.port, letter(to=THREE), lmtp=True)
    assert list(report.outcomes) == THREE
    assert [(o.kind, o.scope, o.phase) for o in report.outcomes.values()] == [
        (Kind.ACCEPTED, Scope.RECIPIENT, Phase.AFTER),
        (Kind.REFUSED, Scope.RECIPIENT, Phase.AFTER),
        (Kind.DEFERRED, Scope.RECIPIENT, Phase.AFTER),
    ]


def test_verdicts_are_for_whom_was_accepted_in_that_order() -> None:
    script = {"RCPT": [None, "550 5.1.1 Nobody", None], "CONTENT": ["451 4.3.0 Later", None]}
    with ScriptedServer(lmtp=True, script=script) as server:
        (report,) = deliver(server.port, letter(to=THREE), lmtp=True)
    assert [o.code for o in report.outcomes.values()] == [451, 550, 250]
    assert [message.recipients for message in server.messages] == [["c@example.net"]]


def test_many_letters_share_a_connection_and_its_round_trips() -> None:
    with ScriptedServer(lmtp=True) as server:
        reports = deliver(server.port, *letters(5, THREE), lmtp=True)
    assert all(report.all_accepted for report in reports)
    (session,) = server.sessions
    assert len(session.letter_trips) == 6


def test_where_the_last_verdicts_are_lost_only_theirs_are_unknown() -> None:
    script = {"CONTENT": ["250 2.0.0 Ok", "552 5.2.2 Full", DROP]}
    with ScriptedServer(lmtp=True, script=script) as server:
        (report,) = deliver(server.port, letter(to=THREE), lmtp=True)
    assert [o.kind for o in report.outcomes.values()] == [
        Kind.ACCEPTED,
        Kind.REFUSED,
        Kind.UNKNOWN,
    ]


def test_a_letter_sent_ahead_is_unharmed_by_lost_verdicts() -> None:
    script = {"CONTENT": ["250 2.0.0 Ok", DROP, None]}
    with ScriptedServer(lmtp=True, script=script) as server:
        first, second = deliver(server.port, *letters(2, THREE), lmtp=True)
    assert [o.kind for o in first.outcomes.values()] == [
        Kind.ACCEPTED,
        Kind.UNKNOWN,
        Kind.UNKNOWN,
    ]
    assert second.all_accepted


def test_letters_that_nobody_may_get_leave_the_connection_usable() -> None:
    with ScriptedServer(lmtp=True, script={"RCPT": ["550 5.1.1 Nobody", None]}) as server:
        refused, accepted = deliver(server.port, *letters(2), lmtp=True)
    assert only(refused).code == 550
    assert accepted.all_accepted
    assert len(server.sessions) == 1


def test_a_server_that_speaks_no_lmtp_is_the_roads_fault() -> None:
    with ScriptedServer() as server:
        (report,) = deliver(server.port, letter(), lmtp=True)
    assert facts(report) == (Kind.REFUSED, Scope.TRANSPORT, Phase.BEFORE)


# -- Unix sockets ------------------------------------------------------------------------------------------------------


@pytest.fixture
def path() -> Iterator[str]:
    """A Unix socket's path may have some hundred bytes; pytest's folders have more."""
    folder = Path(tempfile.mkdtemp(prefix="lmtp-"))
    yield str(folder / "lmtp")
    shutil.rmtree(folder)


def test_a_unix_socket_is_as_good_as_a_port(path: str) -> None:
    with ScriptedServer(lmtp=True, socket=path) as server:
        (report,) = deliver(1, letter(to=THREE), lmtp=True, socket=path)
    assert report.all_accepted
    assert len(server.messages) == 3


def test_a_unix_socket_that_is_not_there_is_named(path: str) -> None:
    (report,) = deliver(1, letter(), lmtp=True, socket=path)
    assert facts(report) == (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)
    assert only(report).text == f"{path}: No such file or directory"
