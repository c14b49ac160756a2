"""The table of ``MAIL_*`` keys, and how it is read."""

from __future__ import annotations

import math
import re
import traceback
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

import flask_outbox
from flask_outbox import ConfigurationError
from flask_outbox._kinds import boolean
from flask_outbox._settings import (
    SETTINGS,
    Settings,
    read_settings,
    unknown_keys,
    with_options,
)
from flask_outbox._wiring import retention
from flask_outbox.delivery.settings import WorkerSettings
from flask_outbox.mail.address import Address
from flask_outbox.mail.seal import SealDefaults
from flask_outbox.rules.retention import DAY
from flask_outbox.transports.smtp_settings import SmtpSettings

HOUSE = Path(flask_outbox.__file__).parent
KEYS = {row.key for row in SETTINGS}

#: Flask-Mail 0.10's.
FLASK_MAILS = {
    "MAIL_SERVER",
    "MAIL_PORT",
    "MAIL_USE_TLS",
    "MAIL_USE_SSL",
    "MAIL_DEBUG",
    "MAIL_USERNAME",
    "MAIL_PASSWORD",
    "MAIL_DEFAULT_SENDER",
    "MAIL_MAX_EMAILS",
    "MAIL_SUPPRESS_SEND",
    "MAIL_ASCII_ATTACHMENTS",
}


def read(**config: Any) -> Settings:
    return read_settings(config)


def sources() -> dict[str, str]:
    return {path.name: path.read_text() for path in HOUSE.rglob("*.py")}


# -- the table -------------------------------------------------------------------------------------------------


def test_every_key_of_flask_mail_is_in_the_table() -> None:
    assert KEYS >= FLASK_MAILS


def test_no_key_is_in_the_table_twice() -> None:
    assert len(KEYS) == len(SETTINGS)


def test_a_row_says_everything_the_docs_show() -> None:
    for row in SETTINGS:
        assert all((row.key, row.kind, row.default, row.group, row.text.endswith("."))), row.key


def test_a_key_is_its_field_in_capitals() -> None:
    assert {f"MAIL_{one.name.upper()}" for one in fields(Settings)} == KEYS


def test_no_key_that_the_code_reads_or_names_in_an_error_is_missing_from_the_table() -> None:
    named = {
        (file, key)
        for file, text in sources().items()
        for key in re.findall(r"""['"](MAIL_[A-Z_]*[A-Z])['"=]""", text)
    }
    assert {(file, key) for file, key in named if key not in KEYS} == set()


def test_no_setting_is_in_the_table_that_nobody_reads() -> None:
    code = "\n".join(text for file, text in sources().items() if file != "_settings.py")
    unread = {
        one.name
        for one in fields(Settings)
        if not re.search(rf"settings\.{one.name}\b|\"MAIL_{one.name.upper()}\"", code)
    }
    assert unread == set()


def test_the_defaults_are_those_of_the_rooms() -> None:
    settings, smtp, seal = read(), SmtpSettings("localhost"), SealDefaults()
    assert (settings.pool_size, settings.max_emails) == (smtp.pool_size, smtp.max_messages)
    assert settings.pool_max_age == smtp.max_age
    assert settings.pool_idle_timeout == smtp.idle_timeout
    assert settings.max_size == seal.max_size
    assert settings.drain_timeout == WorkerSettings().drain_timeout


def test_settings_show_no_secrets() -> None:
    assert "secret" not in repr(read(MAIL_PASSWORD="secret"))


# -- kinds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unset", [None, ""])
@pytest.mark.parametrize("key", sorted(KEYS - {"MAIL_SERVER"}))
def test_none_and_nothing_mean_unset(key: str, unset: str | None) -> None:
    assert read(**{key: unset}) == read()


def test_a_server_of_none_is_no_server() -> None:
    assert (read(MAIL_SERVER=None).server, read(MAIL_SERVER="").server) == (None, None)
    assert read().server == "localhost"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", True),
        ("True", True),
        ("on", True),
        (" yes ", True),
        ("2", True),
        ("0", False),
        ("no", False),
        ("OFF", False),
        (0, False),
        (True, True),
    ],
)
def test_booleans_are_read_as_people_write_them(written: object, value: bool) -> None:
    assert boolean(written) is value


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("MAIL_PORT", " 587 ", 587),
        ("MAIL_PORT", 587.0, 587),
        ("MAIL_TIMEOUT", "2.5", 2.5),
        ("MAIL_PASSWORD", 123456, "123456"),
        ("MAIL_TLS_CA", Path("ca.pem"), "ca.pem"),
        ("MAIL_ENGINE", " Immediate ", "immediate"),
        ("MAIL_RETRY_DELAYS", "1, 2,3", (1.0, 2.0, 3.0)),
        ("MAIL_RETRY_DELAYS", [1, 2, 3], (1.0, 2.0, 3.0)),
        ("MAIL_AUTH_MECHANISMS", "login, plain", ("LOGIN", "PLAIN")),
        ("MAIL_AUTH_MECHANISMS", ["login"], ("LOGIN",)),
        ("MAIL_DEFAULT_SENDER", "a@example.org", Address("a@example.org")),
        ("MAIL_DEFAULT_SENDER", "Name <a@example.org>", Address("a@example.org", "Name")),
        ("MAIL_DEFAULT_SENDER", ("Name", "a@example.org"), Address("a@example.org", "Name")),
        ("MAIL_DEFAULT_SENDER", ["Name", "a@example.org"], Address("a@example.org", "Name")),
        ("MAIL_ENVELOPE_FROM", "<>", ""),
        ("MAIL_ENVELOPE_FROM", "b@example.org", "b@example.org"),
        ("MAIL_REDIRECT_TO", "a@example.org", ("a@example.org",)),
        ("MAIL_REDIRECT_TO", "a@example.org, b@example.org", ("a@example.org", "b@example.org")),
        ("MAIL_REDIRECT_TO", ["A <a@example.org>"], ("a@example.org",)),
        ("MAIL_REDIRECT_TO", '"Last, First" <a@example.org>', ("a@example.org",)),
        ("MAIL_ALLOWED_RECIPIENTS", "@corp.org, a@x.org", ("*@corp.org", "a@x.org")),
        ("MAIL_ALLOWED_RECIPIENTS", ["corp.org", "*@x.org"], ("*@corp.org", "*@x.org")),
        ("MAIL_ALLOWED_RECIPIENTS", "@bücher.example", ("*@xn--bcher-kva.example",)),
        ("MAIL_OUTBOX_URL", make_url("postgresql://me:pw@db/mail"), "postgresql://me:pw@db/mail"),
    ],
)
def test_values_are_read_as_people_write_them(key: str, written: object, value: object) -> None:
    assert getattr(read(**{key: written}), key.removeprefix("MAIL_").lower()) == value


@pytest.mark.parametrize(
    ("key", "written", "told"),
    [
        ("MAIL_PORT", "secret", "an integer"),
        ("MAIL_PORT", 2.5, "an integer"),
        ("MAIL_PORT", True, "an integer"),
        ("MAIL_TIMEOUT", "secret", "a number"),
        ("MAIL_TIMEOUT", "nan", "a number"),
        ("MAIL_USE_TLS", "secret", "true or false"),
        ("MAIL_PASSWORD", 1e5, "text, in quotes where it looks like a number"),
        ("MAIL_PASSWORD", ["secret"], "text"),
        ("MAIL_ENGINE", "secret", "one of: outbox, immediate"),
        ("MAIL_RETRY_DELAYS", "secret", "a list of seconds"),
        ("MAIL_RETRY_DELAYS", ",", "a list of seconds"),
        ("MAIL_DEFAULT_SENDER", "secret", "one address: 'name@example.org'"),
        ("MAIL_DEFAULT_SENDER", "a@example.org, b@example.org", "one address"),
        ("MAIL_ENVELOPE_FROM", "secret", "one address, or '<>'"),
        ("MAIL_REDIRECT_TO", "a@example.org, secret", "an address or a list of addresses"),
        ("MAIL_REDIRECT_TO", [], "an address or a list of addresses"),
        ("MAIL_ALLOWED_RECIPIENTS", "a@@secret, ", "a list of addresses and domains"),
        ("MAIL_OAUTH_TOKEN", "secret", "a function"),
        ("MAIL_ALLOWED_RECIPIENTS", [], "a list of addresses and domains"),
    ],
)
def test_what_is_wrong_is_told_by_its_key_and_not_shown(key: str, written: Any, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(**{key: written})
    assert str(caught.value).startswith(f"'{key}' must be {told}")
    assert "secret" not in "".join(traceback.format_exception(caught.value))


# -- together --------------------------------------------------------------------------------------------------


def test_starttls_and_implicit_tls_contradict_each_other() -> None:
    with pytest.raises(ConfigurationError, match="port 587 wants MAIL_USE_TLS"):
        read(MAIL_USE_TLS="1", MAIL_USE_SSL=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MAIL_SERVER", "mx.example.org"),
        ("MAIL_PORT", 25),
        ("MAIL_USERNAME", "me"),
        ("MAIL_PASSWORD", "pw"),
        ("MAIL_USE_TLS", True),
        ("MAIL_USE_SSL", "true"),
    ],
)
def test_a_url_and_a_key_that_it_replaces_contradict_each_other(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"'MAIL_URL' and '{key}' contradict"):
        read(MAIL_URL="smtp://mx.example.org", **{key: value})


def test_what_a_configuration_for_flask_mail_leaves_empty_does_not_contradict_a_url() -> None:
    empty = {"MAIL_SERVER": None, "MAIL_PORT": "", "MAIL_USE_TLS": False, "MAIL_USE_SSL": "0"}
    assert read(MAIL_URL="smtp://mx.example.org", **empty).url


@pytest.mark.parametrize("missing", ["MAIL_DKIM_DOMAIN", "MAIL_DKIM_SELECTOR", "MAIL_DKIM_KEY"])
def test_dkim_is_set_whole_or_not_at_all(missing: str) -> None:
    whole = {"MAIL_DKIM_DOMAIN": "a.org", "MAIL_DKIM_SELECTOR": "s", "MAIL_DKIM_KEY": "k"}
    assert read(**whole).dkim_domain == "a.org"
    with pytest.raises(ConfigurationError, match=f"'{missing}' is not set"):
        read(**{key: value for key, value in whole.items() if key != missing})


def test_options_of_a_url_stand_above_the_keys() -> None:
    found = with_options(read(MAIL_TIMEOUT=5, MAIL_POOL_SIZE=2), {"timeout": "7", "verify": "no"})
    assert (found.timeout, found.pool_size, found.tls_verify) == (7.0, 2, False)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pol": "3"}, "'MAIL_URL' has an unknown option: pol. Known are: auth, ca, "),
        ({"pool": "many"}, "'MAIL_URL?pool' must be an integer."),
        ({"timeout": ""}, "'MAIL_URL?timeout' must be a number."),
    ],
)
def test_an_option_that_is_wrong_is_named(options: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        with_options(read(), options)
    assert str(caught.value).startswith(told)


def test_unknown_keys_are_told_with_what_may_be_meant() -> None:
    config = {"MAIL_SERVR": "x", "MAIL_SENDER": "x", "MAIL_ADMINS": ["x"], "MAIL_PORT": 1, "X": 2}
    assert unknown_keys(config) == [
        "MAIL_ADMINS",
        "MAIL_SENDER (did you mean MAIL_SERVER or MAIL_DEFAULT_SENDER?)",
        "MAIL_SERVR (did you mean MAIL_SERVER?)",
    ]


def test_an_unknown_key_that_is_unset_is_not_told() -> None:
    assert unknown_keys({"MAIL_ADMINS": None, "MAIL_FROM": ""}) == []


@pytest.mark.parametrize(
    ("given", "sent", "dead"),
    [
        ({"sent": "7d"}, 7, 90),
        ("sent=7d, dead=never", 7, math.inf),
        ("7d", 7, 7),
        ({"sent": timedelta(days=7), "dead": None}, 7, math.inf),
        ({"dead": 86_400}, 30, 1),
    ],
)
def test_retention_is_given_by_state_or_for_all(given: object, sent: float, dead: float) -> None:
    messages = retention(read(MAIL_RETENTION=given)).messages
    assert (messages["sent"] / DAY, messages["dead"] / DAY) == (sent, dead)


def test_keys_and_events_have_times_of_their_own() -> None:
    rule = retention(read(MAIL_RETENTION_KEY="1w", MAIL_RETENTION_EVENT="never"))
    assert (rule.keys, rule.events) == (7 * DAY, math.inf)


@pytest.mark.parametrize("given", ["30", "sent", "sent=30 moons", {"sent": True}, []])
def test_a_retention_that_is_none_is_refused(given: object) -> None:
    with pytest.raises(ConfigurationError, match="'MAIL_RETENTION' must be a time like 30d"):
        read(MAIL_RETENTION=given)
