"""The servers besides Postfix that the tests start are what they are taken for."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable

import pytest

from .dovecot import Dovecot
from .exim import Exim

SENDER = "me@example.org"
CONTENT = b"Subject: Hello\r\n\r\nThe body.\r\n"


def logged_in(server: Exim) -> smtplib.SMTP:
    client = smtplib.SMTP("localhost", server.port, timeout=30)
    client.starttls(context=ssl.create_default_context(cafile=str(server.ca_file)))
    client.login(server.username, server.password)
    return client


def test_dovecot_delivers_over_lmtp(start_dovecot: Callable[..., Dovecot]) -> None:
    server = start_dovecot("ann@example.org")
    with smtplib.LMTP("127.0.0.1", server.port) as client:
        client.sendmail(SENDER, ["ann@example.org"], CONTENT)
    (received,) = server.messages("ann@example.org")
    assert b"Subject: Hello" in received


def test_dovecot_listens_on_a_unix_socket_too(start_dovecot: Callable[..., Dovecot]) -> None:
    server = start_dovecot("ann@example.org")
    with smtplib.LMTP(str(server.socket)) as client:
        client.sendmail(SENDER, ["ann@example.org"], CONTENT)
    assert len(server.messages("ann@example.org")) == 1


def test_dovecot_refuses_whom_it_does_not_know(start_dovecot: Callable[..., Dovecot]) -> None:
    server = start_dovecot("ann@example.org")
    with smtplib.LMTP("127.0.0.1", server.port) as client:
        refused = client.sendmail(SENDER, ["ann@example.org", "bob@example.org"], CONTENT)
    assert refused["bob@example.org"][0] == 550


def test_dovecot_says_after_the_content_that_a_mailbox_is_full(
    start_dovecot: Callable[..., Dovecot],
) -> None:
    server = start_dovecot("ann@example.org", full="bob@example.org")
    with smtplib.LMTP("127.0.0.1", server.port) as client:
        client.mail(SENDER)
        assert [client.rcpt(f"{name}@example.org")[0] for name in ("ann", "bob")] == [250, 250]
        first, _ = client.data(CONTENT)
        second, _ = client.getreply()
    assert (first, second) == (250, 552)


def test_exim_takes_an_authenticated_message_over_verified_starttls(
    start_exim: Callable[..., Exim],
) -> None:
    server = start_exim()
    with logged_in(server) as client:
        client.sendmail(SENDER, ["you@example.net"], CONTENT)
    (received,) = server.messages(1)
    assert b"esmtpsa" in received


def test_exim_announces_what_the_tests_rely_on(start_exim: Callable[..., Exim]) -> None:
    with logged_in(start_exim()) as client:
        client.ehlo()
        assert {"pipelining", "smtputf8", "8bitmime", "size", "auth"} <= set(client.esmtp_features)
        assert set(client.esmtp_features["auth"].split()) == {"PLAIN", "CRAM-MD5"}


def test_exim_refuses_whom_it_is_told_to(start_exim: Callable[..., Exim]) -> None:
    server = start_exim(refuse={"gone@example.org": "no such person"})
    with logged_in(server) as client, pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        client.sendmail(SENDER, ["gone@example.org"], CONTENT)
    assert caught.value.recipients["gone@example.org"] == (550, b"no such person")
