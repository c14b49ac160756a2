"""The roads that the settings name."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flask import Flask

from flask_outbox import ConfigurationError, Mail, MessageError
from flask_outbox._roads import (
    PassingRoad,
    Road,
    composer_of,
    default_road,
    lmtp_from_dsn,
    passing_road,
    smtp_from_dsn,
    smtp_from_keys,
)
from flask_outbox._settings import read_settings
from flask_outbox.mail.mime import compose
from flask_outbox.transports.console import ConsoleTransport
from flask_outbox.transports.dsn import parse_dsn
from flask_outbox.transports.file import FileTransport
from flask_outbox.transports.memory import MemoryTransport
from flask_outbox.transports.null import NullTransport
from flask_outbox.transports.smtp import SmtpSettings
from servers.scripted import ScriptedServer


def smtp(**config: Any) -> SmtpSettings:
    settings = read_settings(config)
    if settings.url is not None:
        return smtp_from_dsn(parse_dsn(settings.url, "MAIL_URL"), settings)
    found = smtp_from_keys(settings)
    assert found is not None
    return found


def test_nothing_set_means_localhost_25_as_in_flask_mail() -> None:
    assert smtp() == SmtpSettings("localhost", 25, tls="never")


def test_a_server_that_is_none_lets_the_app_start() -> None:
    assert default_road(read_settings({"MAIL_SERVER": None})) is None
    assert default_road(read_settings({"MAIL_SERVER": ""})) is None


@pytest.mark.parametrize(
    ("config", "tls"),
    [
        ({"MAIL_SERVER": "mx.example.org"}, "opportunistic"),
        ({"MAIL_SERVER": "mx.example.org", "MAIL_USE_TLS": True}, "required"),
        ({"MAIL_SERVER": "mx.example.org", "MAIL_USE_TLS": "true"}, "required"),
        ({"MAIL_SERVER": "mx.example.org", "MAIL_USE_TLS": False}, "never"),
        ({"MAIL_SERVER": "mx.example.org", "MAIL_USE_SSL": "1"}, "implicit"),
        ({"MAIL_SERVER": "mx.example.org", "MAIL_PORT": "465"}, "implicit"),
        ({"MAIL_SERVER": "mx.example.org", "MAIL_PORT": 587}, "required"),
        ({"MAIL_SERVER": "mx.example.org", "MAIL_USERNAME": "me"}, "required"),
        ({"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": 587}, "never"),
        ({"MAIL_SERVER": "127.0.0.1", "MAIL_USE_TLS": True}, "required"),
        ({"MAIL_URL": "smtp://mx.example.org"}, "required"),
        ({"MAIL_URL": "smtps://mx.example.org"}, "implicit"),
        ({"MAIL_URL": "smtp://mx.example.org:25"}, "opportunistic"),
        ({"MAIL_URL": "smtp://mx.example.org:25?tls=never"}, "never"),
        ({"MAIL_URL": "smtp://mx.example.org:25?tls=starttls"}, "required"),
    ],
)
def test_what_is_done_about_tls(config: dict[str, Any], tls: str) -> None:
    assert smtp(**config).tls == tls


def test_a_url_says_everything_and_percent_escapes_are_undone() -> None:
    found = smtp(MAIL_URL="smtp://me%40example.org:s%2Fcret@mx.example.org:2525?pool=8")
    assert (found.username, found.password) == ("me@example.org", "s/cret")
    assert (found.host, found.port, found.pool_size) == ("mx.example.org", 2525, 8)


def test_a_url_may_hold_every_option() -> None:
    options = (
        "timeout=7&verify=no&auth=login&pool=2&max_age=60&idle_timeout=5&max_emails=9"
        "&local_hostname=web.example.org&pipelining=off&source_address=192.0.2.1"
    )
    assert smtp(MAIL_URL=f"smtps://mx.example.org?{options}") == SmtpSettings(
        "mx.example.org",
        465,
        tls="implicit",
        timeout=7.0,
        tls_verify=False,
        auth_mechanisms=("LOGIN",),
        pool_size=2,
        max_age=60.0,
        idle_timeout=5.0,
        max_messages=9,
        local_hostname="web.example.org",
        pipelining=False,
        source_address="192.0.2.1",
    )


def test_every_key_of_the_server_reaches_it() -> None:
    found = smtp(
        MAIL_SERVER="mx.example.org",
        MAIL_USE_SSL=True,
        MAIL_POOL_SIZE="9",
        MAIL_POOL_MAX_AGE=60,
        MAIL_POOL_IDLE_TIMEOUT="5",
        MAIL_AUTH_MECHANISMS="login, plain",
        MAIL_MAX_EMAILS=7,
    )
    assert (found.port, found.pool_size, found.max_age, found.idle_timeout) == (465, 9, 60.0, 5.0)
    assert (found.auth_mechanisms, found.max_messages) == (("LOGIN", "PLAIN"), 7)


def test_lmtp_is_spoken_to_a_host_or_a_socket() -> None:
    found = smtp(MAIL_URL="lmtp://127.0.0.1")
    assert (found.host, found.port, found.lmtp, found.tls) == ("127.0.0.1", 24, True, "never")
    settings = read_settings({})
    found = lmtp_from_dsn(parse_dsn("lmtp+unix:///run/my%20lmtp?pool=2", "MAIL_URL"), settings)
    assert (found.socket, found.lmtp, found.tls) == ("/run/my lmtp", True, "never")
    assert found.pool_size == 2


def test_a_token_may_be_given_instead_of_a_password() -> None:
    def token() -> str:
        return "t"

    config = {"MAIL_SERVER": "mx.example.org", "MAIL_USERNAME": "me", "MAIL_OAUTH_TOKEN": token}
    assert smtp(**config).token is token


def test_no_emails_at_most_means_no_limit_as_in_flask_mail() -> None:
    assert smtp(MAIL_MAX_EMAILS=0).max_messages > 10**9


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("smtp://", "'MAIL_URL' must be like smtp://"),
        ("smtp://me:1/x", "'MAIL_URL' must be like smtp://"),
        ("smtp://example.org:port", "'MAIL_URL' must be like smtp://"),
        ("smtp://example.org?tls=perhaps", "'MAIL_URL' must name one of these as tls"),
        ("smtps://example.org?tls=starttls", "'MAIL_URL' contradicts itself"),
        ("smtp://example.org:0", "'MAIL_PORT' must be an integer from 1 to 65535."),
        ("smtp://example.org?pol=3", "unknown option: pol"),
        ("smtp://example.org?pool=0", "'MAIL_POOL_SIZE' must be a number above 0"),
        ("http://example.org", "'MAIL_URL' must begin with one of: smtp://, smtps://, lmtp://, "),
        ("sendgrid://KEY@default", "'MAIL_URL' must begin with one of: "),
        ("lmtp+unix://", "'MAIL_URL' must name the socket"),
        ("lmtp+unix:///run/lmtp?tls=never", "unknown option: tls"),
        ("null://?pool=3", "unknown option: pool"),
        ("file://mail", "'MAIL_URL' must name the folder"),
        ("file:///mail?maildir=perhaps", "'MAIL_URL?maildir' must be true or false."),
        ("file:///mail?pool=3", "unknown option: pool"),
    ],
)
def test_a_url_that_is_wrong_is_told(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        default_road(read_settings({"MAIL_URL": url}))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", MemoryTransport),
        ("null://", NullTransport),
        ("console://", ConsoleTransport),
        ("file:///var/mail?maildir=yes", FileTransport),
    ],
)
def test_a_url_may_name_a_transport_that_sends_nothing(url: str, kind: type) -> None:
    road = default_road(read_settings({"MAIL_URL": url}))
    assert road is not None
    assert isinstance(road(), kind)


# -- those that messages bring along -----------------------------------------------------------------------------


def passing(url: str, **config: Any) -> PassingRoad:
    return passing_road(url, read_settings(config))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("smtp://me:s3cret@mx.example.org:2525?pool=8", "smtp://me@mx.example.org:2525?pool=8"),
        ("smtp://me:s3%40cret@mx.example.org", "smtp://me@mx.example.org"),
        ("smtp://me@example.org:s3@cret@mx.example.org", "smtp://me@example.org@mx.example.org"),
        ("smtps://me:s3cret@[::1]:465", "smtps://me@[::1]:465"),
        ("smtp://me@mx.example.org", "smtp://me@mx.example.org"),
        (" smtp://m e:s3cret@mx.example.org ", "smtp://m%20e@mx.example.org"),
    ],
)
def test_the_name_of_a_url_is_all_of_it_but_the_password(url: str, name: str) -> None:
    road = passing(url)
    assert (road.name, road.secret) == (name, "s3" in url)
    assert "s3" not in repr(road)


def test_what_a_passing_url_does_not_say_is_as_the_settings_say() -> None:
    road = passing("smtp://mx.example.org", MAIL_POOL_SIZE=7).make
    assert asyncio.run(concurrency_of(road)) == 14


def test_the_token_of_the_configured_server_is_given_to_no_other() -> None:
    token = {"MAIL_USERNAME": "me", "MAIL_OAUTH_TOKEN": lambda: "token", "MAIL_USE_TLS": True}
    road = passing("smtp://me@mx.example.net?tls=never", MAIL_SERVER="mx.example.org", **token)
    assert road.name == "smtp://me@mx.example.net?tls=never"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("smtp://me:s3cret@mx.example.org?colour=red", "'transport' has an unknown option: colour"),
        ("smtp://me:s3cret@mx.example.org?pool=many", "'transport?pool' must be an integer."),
        ("smtp://me:s3cret@mx.example.org?tls=never", "without TLS"),
        ("smtp://me:s3cret@", "'transport' must be like smtp://"),
        ("smtp://me:s3/cret@mx.example.org", "'transport' must be like smtp://"),
        ("smtp://me:s3cret@mx.example.org:port", "'transport' must be like smtp://"),
        ("s3cret://s3cret@default", "'transport' must begin with one of: smtp://, smtps://"),
        ("file://s3cret:s3cret@host/folder", "'transport' must name the folder"),
    ],
)
def test_a_passing_url_that_is_wrong_is_told_and_its_password_is_not(url: str, told: str) -> None:
    with pytest.raises(MessageError) as caught:
        passing(url)
    assert caught.value.field == "transport"
    assert told in str(caught.value)
    assert ":s3" not in str(caught.value)


async def concurrency_of(road: Road) -> int:
    return road().concurrency


# -- DKIM ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pem() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def signing(key: object) -> dict[str, object]:
    return {"MAIL_DKIM_DOMAIN": "example.org", "MAIL_DKIM_SELECTOR": "s", "MAIL_DKIM_KEY": key}


def test_what_is_sent_is_signed_where_dkim_is_set(app: Flask, pem: str) -> None:
    with ScriptedServer() as server:
        there = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": server.port, "MAIL_ENGINE": "immediate"}
        app.config.update(there, **signing(pem))
        mail = Mail(app)
        with app.app_context():
            mail.send_message("Hi", recipients=["a@example.org"], body="x")
        app.extensions["flask_outbox"].close()
    [sent] = server.messages
    assert sent.content.startswith(b"DKIM-Signature: v=1; a=ed25519-sha256;")


def test_the_key_may_be_text_with_written_line_ends_or_a_file(pem: str, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text(pem)
    for key in (pem, pem.replace("\n", "\\n"), str(file), file):
        assert composer_of(read_settings(signing(key))) is not compose


@pytest.mark.parametrize("key", ["/no/such/file", "c2VjcmV0" * 100, "-----BEGIN nothing"])
def test_a_key_that_is_none_is_told_and_not_shown(app: Flask, key: str) -> None:
    app.config.update(signing(key))
    with pytest.raises(ConfigurationError, match="'MAIL_DKIM_KEY' must be") as caught:
        Mail(app)
    assert key not in str(caught.value)
