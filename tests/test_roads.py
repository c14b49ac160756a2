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
    Roads,
    composer_of,
    passing_road,
    signposts,
)
from flask_outbox._servers import lmtp_from_dsn, smtp_from_dsn, smtp_from_keys
from flask_outbox._settings import read_settings
from flask_outbox.mail.mime import compose
from flask_outbox.transports.base import Transport
from flask_outbox.transports.console import ConsoleTransport
from flask_outbox.transports.dsn import parse_dsn
from flask_outbox.transports.failover import FailoverTransport
from flask_outbox.transports.file import FileTransport
from flask_outbox.transports.memory import MemoryTransport
from flask_outbox.transports.null import NullTransport
from flask_outbox.transports.roundrobin import RoundRobinTransport
from flask_outbox.transports.smtp import SmtpSettings
from servers.scripted import DROP, ScriptedServer
from transports.sending import Cleared, letter


def smtp(**config: Any) -> SmtpSettings:
    settings = read_settings(config)
    if settings.url is not None:
        return smtp_from_dsn(parse_dsn(settings.url, "MAIL_URL"), settings)
    found = smtp_from_keys(settings)
    assert found is not None
    return found


def roads(**config: Any) -> Roads:
    return Roads(read_settings(config))


def test_nothing_set_means_localhost_25_as_in_flask_mail() -> None:
    assert smtp() == SmtpSettings("localhost", 25, tls="never")


def test_a_server_that_is_none_lets_the_app_start() -> None:
    assert roads(MAIL_SERVER=None).make() == {}
    assert roads(MAIL_SERVER="").make() == {}


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
        roads(MAIL_URL=url)
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
    assert isinstance(roads(MAIL_URL=url).make()["default"], kind)


# -- MAIL_TRANSPORTS ---------------------------------------------------------------------------------------------


def named(given: object, **config: Any) -> Roads:
    return roads(MAIL_TRANSPORTS={"marketing": given}, **config)


def server_of(name: str = "marketing", **config: Any) -> SmtpSettings:
    """What became of what was set about one transport."""
    posts = {post.name: post for post in signposts(read_settings(config))}
    found = posts[name].server
    assert found is not None
    return found


def test_the_default_is_there_beside_those_with_names() -> None:
    found = named("null://", MAIL_URL="memory://")
    assert found.names == ("default", "marketing")
    assert list(map(type, found.make().values())) == [MemoryTransport, NullTransport]


def test_the_default_is_a_name_although_it_waits_for_a_server() -> None:
    found = named("null://", MAIL_SERVER=None)
    assert (found.names, list(found.make())) == (("default", "marketing"), ["marketing"])


def test_the_default_may_be_named_itself() -> None:
    found = roads(MAIL_TRANSPORTS={"marketing": "null://", "default": "memory://"})
    assert isinstance(found.make()["default"], MemoryTransport)
    assert found.names == ("default", "marketing")


@pytest.mark.parametrize(
    "given",
    [
        "smtp://me:s3cret@mx.example.net?pool=2",
        {"url": "smtp://me:s3cret@mx.example.net", "pool_size": 2},
        {"url": "smtp://me:s3cret@mx.example.net?pool=2", "pool_size": 9},
        {
            "server": "mx.example.net",
            "port": "587",
            "use_tls": "yes",
            "username": "me",
            "password": "s3cret",
            "pool_size": "2",
        },
    ],
)
def test_one_may_be_a_url_or_the_settings_of_its_server(given: object) -> None:
    assert server_of(MAIL_TRANSPORTS={"marketing": given}) == SmtpSettings(
        "mx.example.net", 587, "me", "s3cret", tls="required", pool_size=2
    )


def test_what_one_does_not_say_is_as_the_settings_say_but_for_login_and_server() -> None:
    found = server_of(
        MAIL_TRANSPORTS={"marketing": {"server": "mx.example.net"}},
        MAIL_SERVER="mx.example.org",
        MAIL_PORT=587,
        MAIL_USERNAME="me",
        MAIL_PASSWORD="s3cret",
        MAIL_USE_TLS=True,
        MAIL_POOL_SIZE=7,
        MAIL_TIMEOUT=3,
    )
    assert found == SmtpSettings("mx.example.net", 25, pool_size=7, timeout=3.0)


def test_one_may_have_a_token_and_retry_delays_of_its_own() -> None:
    def token() -> str:
        return "t"

    given = {
        "url": "smtps://me@mx.example.net",
        "oauth_token": token,
        "retry_delays": [5, 50],
    }
    settings = read_settings({"MAIL_TRANSPORTS": {"marketing": given}, "MAIL_SERVER": None})
    (post,) = signposts(settings)
    assert post.settings.oauth_token is token
    assert post.settings.retry_delays == (5.0, 50.0)
    assert settings.oauth_token is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("mx.example.net", "'url' must be like smtp://"),
        ("smtp://me:s3cret@mx.example.net:port", "'url' must be like smtp://"),
        ("s3cret://s3cret@mx.example.net", "'url' must begin with one of: smtp://"),
        ("smtp://mx.example.net?colour=s3cret", "'url' has an unknown option: colour"),
        ({"url": "smtp://a", "server": "b"}, "either 'url', which names server, "),
        ({"url": "smtp://a", "password": "s3cret"}, "either 'url', which names server, "),
        ({"pool_size": 2}, "either 'url', which names server, "),
        ({"server": "a", "pool": 2}, "an unknown word; known are: auth_mechanisms, "),
        ({"server": "a", "dkim_key": "s3cret"}, "an unknown word"),
        ({"server": "a", "port": "s3cret"}, "'port' must be an integer."),
        ({"server": "a", "use_tls": True, "use_ssl": True}, "'use_tls' and 'use_ssl' contradict"),
        ({"server": "a", "username": "me", "password": "s3cret", "use_tls": False}, "without TLS"),
        ({"failover": "smtp://a"}, "'failover' must be a list"),
        ({"failover": ["smtp://a"], "url": "smtp://b"}, "stand in the place of 'url'"),
        ({"failover": ["smtp://a", "smtp://a"]}, "must hold different URLs or names"),
        ({"failover": []}, "must hold different URLs or names"),
        ({"roundrobin": ["smtp://a", "smtp://me:s3cret@b:port"]}, "'roundrobin' must be like smtp"),
        ("failover(s3cret smtp://b)", "there are: default, marketing."),
        ("failover(marketing smtp://b)", "these are made of one another: marketing."),
        ({"failover": ["smtp://a"], "oauth_token": str}, "a token is for one server alone"),
    ],
)
def test_one_that_is_wrong_is_told_with_its_name_and_without_its_secrets(
    given: object, told: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        named(given)
    assert told in str(caught.value)
    assert "marketing" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        "smtp://a",
        ["smtp://a"],
        {"a b": "null://"},
        {"smtp://a": "null://"},
        {"": "null://"},
        {"a": 1.5},
        {1: "null://"},
    ],
)
def test_what_is_no_mapping_of_names_is_told(given: object) -> None:
    with pytest.raises(ConfigurationError, match="'MAIL_TRANSPORTS' must be a mapping of names"):
        read_settings({"MAIL_TRANSPORTS": given})


@pytest.mark.parametrize("key", ["MAIL_URL", "MAIL_SERVER", "MAIL_USERNAME"])
def test_a_default_that_is_named_and_set_besides_is_a_contradiction(key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'MAIL_TRANSPORTS' and '{key}' contradict"):
        read_settings({"MAIL_TRANSPORTS": {"default": "null://"}, key: "null://"})


def test_names_come_from_the_environment_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_MAIL_TRANSPORTS__marketing", "smtp://mx.example.net")
    app = Flask(__name__)
    app.config.from_prefixed_env()
    assert server_of(**app.config).host == "mx.example.net"


# -- several in one ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("failover(null:// memory://)", FailoverTransport),
        ({"failover": ["null://", "memory://"]}, FailoverTransport),
        ("roundrobin(null:// memory://)", RoundRobinTransport),
        ({"roundrobin": ("null://", "memory://")}, RoundRobinTransport),
        ({"failover": ["roundrobin(null:// memory://)", "console://"]}, FailoverTransport),
        ({"failover": ["default", "null://"]}, FailoverTransport),
    ],
)
def test_one_may_be_made_of_several(given: object, kind: type) -> None:
    assert type(named(given, MAIL_URL="memory://").make()["marketing"]) is kind


def test_the_default_may_be_made_of_those_with_names() -> None:
    made = roads(
        MAIL_URL="failover(one two)", MAIL_TRANSPORTS={"one": "memory://", "two": "null://"}
    ).make()
    assert list(made) == ["default", "one", "two"]
    assert isinstance(made["default"], FailoverTransport)


def test_one_with_a_name_is_one_and_the_same_wherever_it_is_used() -> None:
    """So it has one pool of connections; what uses it does not close it."""
    made = roads(
        MAIL_URL="failover(one two)",
        MAIL_TRANSPORTS={"both": "roundrobin(two one)", "one": "memory://", "two": "null://"},
    ).make()
    memory, sent = made["one"], letter()
    assert isinstance(memory, MemoryTransport)

    async def send_all() -> None:
        await made["default"].deliver(sent, ("a@example.org",), Cleared())
        await made["both"].deliver(sent, ("b@example.org",), Cleared())
        await made["both"].deliver(sent, ("c@example.org",), Cleared())

    asyncio.run(send_all())
    assert [to for _, to in memory.sent] == [("a@example.org",), ("c@example.org",)]


def test_what_is_set_aside_is_known_to_all_event_loops_of_a_process() -> None:
    async def send_over(road: Transport) -> None:
        await road.deliver(letter(), ("a@example.org",), Cleared())
        await road.aclose()

    with ScriptedServer(script={"GREETING": DROP}) as down:
        both = roads(MAIL_URL=f"failover(smtp://127.0.0.1:{down.port} memory://)")
        for _ in range(2):
            asyncio.run(send_over(both.make()["default"]))
    assert len(down.sessions) == 1


@pytest.mark.parametrize(
    ("transports", "told"),
    [
        ({"a": "failover(b null://)", "b": "failover(a null://)"}, "one another: a, b."),
        ({"a": "failover(a null://)"}, "one another: a."),
        ({"a": "failover(c null://)", "b": "null://"}, "there are: default, a, b."),
    ],
)
def test_one_that_is_made_of_itself_or_of_nothing_is_told(
    transports: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        roads(MAIL_TRANSPORTS=transports)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"MAIL_URL": "failover(smtp://me@a smtp://b)"}, "MAIL_URL has no password"),
        (
            {"MAIL_TRANSPORTS": {"marketing": "smtp://me@mx.example.net"}},
            "MAIL_TRANSPORTS['marketing'] has no password",
        ),
        (
            {"MAIL_TRANSPORTS": {"marketing": {"server": "mx.example.net", "username": "me"}}},
            "MAIL_TRANSPORTS['marketing']: password is not set",
        ),
    ],
)
def test_half_a_login_is_told_of_with_the_transport(config: dict[str, Any], told: str) -> None:
    halves = [post.half_a_login for post in signposts(read_settings(config))]
    assert [half for half in halves if told in half]


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
        ("failover(smtp://me:s3cret@a null://)", "failover(smtp://me@a|null://)"),
        ("roundrobin(null:// memory://)", "roundrobin(null://|memory://)"),
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
        ("failover(null:// s3cret://s3cret@default)", "'transport' must begin with one of: smtp"),
        ("failover(null:// smtp://me:s3cret@a?colour=red)", "an unknown option: colour"),
        ("failover(null:// default)", "'transport' must hold URLs only"),
    ],
)
def test_a_passing_url_that_is_wrong_is_told_and_its_password_is_not(url: str, told: str) -> None:
    with pytest.raises(MessageError) as caught:
        passing(url)
    assert caught.value.field == "transport"
    assert told in str(caught.value)
    assert ":s3" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["acme://s3cret@default", "failover(null:// roundrobin(acme://s3cret@default))"]
)
def test_of_an_unknown_kind_nothing_is_shown_as_all_of_it_may_be_a_secret(url: str) -> None:
    with pytest.raises(MessageError) as caught:
        passing(url)
    assert "s3cret" not in str(caught.value)


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
