"""The servers that the tests start are what they are taken for."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from .postfix import Postfix
from .process import Process, free_port
from .smtp_sink import SmtpSink


def a_message(to: str = "you@example.net", subject: str = "Hello") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "me@example.org", to, subject
    message.set_content("The body.\n")
    return message


def logged_in(server: Postfix) -> smtplib.SMTP:
    client = smtplib.SMTP("localhost", server.port, timeout=30)
    client.starttls(context=ssl.create_default_context(cafile=str(server.ca_file)))
    client.login(server.username, server.password)
    return client


def test_postfix_takes_an_authenticated_message_over_verified_starttls(postfix: Postfix) -> None:
    with logged_in(postfix) as client:
        client.send_message(a_message())
    (received,) = postfix.messages(1)
    assert b"Subject: Hello" in received
    assert b"with ESMTPSA" in received


def test_postfix_takes_implicit_tls_on_its_second_port(postfix: Postfix) -> None:
    context = ssl.create_default_context(cafile=str(postfix.ca_file))
    with smtplib.SMTP_SSL("127.0.0.1", postfix.tls_port, timeout=30, context=context) as client:
        client.login(postfix.username, postfix.password)
        client.send_message(a_message())
    assert len(postfix.messages(1)) == 1


def test_postfix_announces_what_the_tests_rely_on(postfix: Postfix) -> None:
    with logged_in(postfix) as client:
        client.ehlo()
        assert {"pipelining", "smtputf8", "8bitmime", "dsn", "auth"} <= set(client.esmtp_features)
        assert client.esmtp_features["auth"].split() == [
            "PLAIN",
            "LOGIN",
            "CRAM-MD5",
            "SCRAM-SHA-256",
        ]


def test_postfix_offers_no_auth_before_tls(postfix: Postfix) -> None:
    with smtplib.SMTP("localhost", postfix.port, timeout=30) as client:
        client.ehlo()
        assert not client.has_extn("auth")


def test_postfix_relays_nothing_for_strangers(postfix: Postfix) -> None:
    with (
        smtplib.SMTP("localhost", postfix.port, timeout=30) as client,
        pytest.raises(smtplib.SMTPRecipientsRefused),
    ):
        client.send_message(a_message())


def test_postfix_refuses_a_wrong_password(postfix: Postfix) -> None:
    context = ssl.create_default_context(cafile=str(postfix.ca_file))
    with (
        smtplib.SMTP_SSL("localhost", postfix.tls_port, timeout=30, context=context) as client,
        pytest.raises(smtplib.SMTPAuthenticationError),
    ):
        client.login(postfix.username, "wrong")


def test_postfix_refuses_the_recipients_it_was_told_to(
    start_postfix: Callable[..., Postfix],
) -> None:
    server = start_postfix(refuse={"gone@example.net": "550 5.1.1 Gone away"})
    with logged_in(server) as client:
        refused = client.send_message(a_message("gone@example.net, here@example.net"))
    code, text = refused["gone@example.net"]
    assert (code, text.startswith(b"5.1.1")) == (550, True)
    assert len(server.messages(1)) == 1


def test_postfix_announces_the_size_it_was_told_to(start_postfix: Callable[..., Postfix]) -> None:
    server = start_postfix(message_size_limit=50_000)
    with smtplib.SMTP("localhost", server.port, timeout=30) as client:
        client.ehlo()
        assert client.esmtp_features["size"] == "50000"


def test_a_stopped_postfix_leaves_nothing_behind(start_postfix: Callable[..., Postfix]) -> None:
    server = start_postfix()
    folder, port = server.folder, server.port
    server.close()
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        smtplib.SMTP("127.0.0.1", port)


def test_smtp_sink_counts_three_messages(smtp_sink: SmtpSink) -> None:
    with smtplib.SMTP("127.0.0.1", smtp_sink.port, timeout=30) as client:
        for number in range(3):
            client.send_message(a_message(subject=f"Number {number}"))
    assert smtp_sink.count() == 3
    assert {f"Subject: Number {number}".encode() for number in range(3)} == {
        line
        for message in smtp_sink.messages(3)
        for line in message.split(b"\n")
        if line.startswith(b"Subject")
    }


def test_smtp_sink_does_not_count_what_it_refused(
    start_smtp_sink: Callable[..., SmtpSink],
) -> None:
    sink = start_smtp_sink("-f", "rcpt")
    with (
        smtplib.SMTP("127.0.0.1", sink.port, timeout=30) as client,
        pytest.raises(smtplib.SMTPRecipientsRefused),
    ):
        client.send_message(a_message())
    assert sink.count() == 0


def test_a_server_that_dies_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such luck; exit 3"]
    with pytest.raises(RuntimeError, match=r"(?s)sh ended with 3:.*no such luck"):
        Process(command, ports=[free_port()], log=tmp_path / "log")
