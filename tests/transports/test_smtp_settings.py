"""What may be set, and what is said when it may not."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
import trustme

from flask_outbox.errors import ConfigurationError
from flask_outbox.transports.smtp import SmtpSettings

LOGIN = {"username": "me", "password": "secret"}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"port": 0}, "MAIL_PORT"),
        ({"port": 70_000}, "MAIL_PORT"),
        ({"timeout": 0}, "MAIL_TIMEOUT"),
        ({"pool_size": 0}, "MAIL_POOL_SIZE"),
        ({"max_messages": 0}, "MAIL_MAX_EMAILS"),
        ({"max_age": -1}, "MAIL_POOL_MAX_AGE"),
        ({"idle_timeout": 0}, "MAIL_POOL_IDLE_TIMEOUT"),
        ({"host": ""}, "MAIL_SERVER"),
        ({"host": "a host"}, "MAIL_SERVER"),
        ({"host": "a" * 70 + ".example"}, "MAIL_SERVER"),
        ({"local_hostname": "me\r\nRSET"}, "MAIL_LOCAL_HOSTNAME"),
        ({"auth_mechanisms": ("NTLM",)}, "MAIL_AUTH_MECHANISMS"),
        ({"tls": "yes"}, "MAIL_URL"),
        ({"tls_ca": "/no/such/file"}, "MAIL_TLS_CA"),
        ({"tls_cert": "/no/such/file"}, "MAIL_TLS_CERT"),
        ({"tls_key": "/no/such/file"}, "MAIL_TLS_KEY"),
        ({**LOGIN, "tls": "required", "password": "sec\0ret"}, "MAIL_PASSWORD"),
        ({**LOGIN, "tls": "required", "username": "m\x01e"}, "MAIL_USERNAME"),
        ({"auth_mechanisms": ("EXTERNAL",)}, "MAIL_TLS_CERT"),
        ({"token": lambda: "token", "tls": "required"}, "MAIL_USERNAME"),
        ({"source_address": "mail.example.org"}, "MAIL_SOURCE_ADDRESS"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{key}'"):
        SmtpSettings(**{"host": "mail.example.org", **settings})


@pytest.mark.parametrize("tls", ["never", "opportunistic"])
@pytest.mark.parametrize("host", ["mail.example.org", "192.0.2.1", "localhost.example.org", "::2"])
def test_a_password_leaves_this_machine_only_over_verified_tls(tls: str, host: str) -> None:
    with pytest.raises(ConfigurationError, match="MAIL_USE_TLS"):
        SmtpSettings(host, tls=tls, **LOGIN)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "LOCALHOST."])
def test_on_this_machine_a_password_needs_no_tls(host: str) -> None:
    assert SmtpSettings(host, tls="never", **LOGIN).login == ("me", "secret")


@pytest.mark.parametrize("tls", ["required", "implicit"])
def test_a_password_may_go_over_tls(tls: str) -> None:
    assert SmtpSettings("mail.example.org", tls=tls, **LOGIN).login == ("me", "secret")


def test_a_user_name_without_a_password_is_no_login() -> None:
    assert SmtpSettings("mail.example.org", username="me").login is None


def test_a_token_leaves_this_machine_only_over_verified_tls() -> None:
    with pytest.raises(ConfigurationError, match="'MAIL_OAUTH_TOKEN' is not sent"):
        SmtpSettings("mail.example.org", tls="opportunistic", username="me", token=lambda: "token")


def test_over_a_unix_socket_a_password_stays_on_this_machine() -> None:
    settings = SmtpSettings("mail.example.org", socket="/run/lmtp", tls="never", **LOGIN)
    assert settings.wants_login


def test_a_unix_socket_is_refused_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(ConfigurationError, match="name that by lmtp://host:port"):
        SmtpSettings("localhost", socket="/run/lmtp.sock", lmtp=True)


def test_only_mechanisms_that_there_is_something_to_say_in_are_used(tmp_path: Path) -> None:
    def usable(**settings: object) -> tuple[str, ...]:
        return SmtpSettings("localhost", tls="never", **settings).mechanisms

    token = {"username": "me", "token": lambda: "token"}
    cert = tmp_path / "client.pem"
    trustme.CA().issue_cert("client").private_key_and_cert_chain_pem.write_to_path(str(cert))
    assert usable() == ()
    assert usable(**LOGIN) == ("PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5")
    assert usable(**token) == ("OAUTHBEARER", "XOAUTH2")
    assert usable(**token, auth_mechanisms=("PLAIN", "XOAUTH2")) == ("XOAUTH2",)
    assert usable(tls_cert=str(cert)) == ()
    assert usable(tls_cert=str(cert), auth_mechanisms=("EXTERNAL",)) == ("EXTERNAL",)


def test_the_password_is_not_shown() -> None:
    settings = SmtpSettings("localhost", tls="never", username="me", password="s3cret")
    assert "s3cret" not in repr(settings)


def test_tls_verifies_name_and_authority_unless_told_otherwise() -> None:
    context = SmtpSettings("mail.example.org", tls="required").context()
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("settings", [{"tls": "opportunistic"}, {"tls_verify": False}])
def test_tls_can_go_unverified(settings: dict[str, object]) -> None:
    context = SmtpSettings("mail.example.org", **{"tls": "required", **settings}).context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE


def test_without_tls_there_is_no_context() -> None:
    assert SmtpSettings("mail.example.org", tls="never").context() is None


def test_a_key_with_a_password_is_refused_without_asking_for_it(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    issued = trustme.CA().issue_cert("client.example.org")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    with pytest.raises(ConfigurationError, match="without a password"):
        SmtpSettings(
            "mail.example.org",
            tls="required",
            tls_cert=str(tmp_path / "cert.pem"),
            tls_key=str(tmp_path / "key.pem"),
        )


def test_a_timeout_lowers_what_the_rfc_allows_and_never_raises_it() -> None:
    assert SmtpSettings("mail.example.org").patience(300) == 300
    assert SmtpSettings("mail.example.org", timeout=5).patience(300) == 5
    assert SmtpSettings("mail.example.org", timeout=500).patience(300) == 300
