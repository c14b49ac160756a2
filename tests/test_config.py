"""From ``MAIL_*`` keys to settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_outbox import ConfigurationError, Mail
from flask_outbox._config import (
    boolean,
    read,
    read_outbox_url,
    read_seal_defaults,
    read_smtp,
    seconds,
)
from flask_outbox.mail.address import Address
from flask_outbox.transports.smtp import SmtpSettings


def smtp(**config: Any) -> SmtpSettings:
    found = read_smtp(config)
    assert found is not None
    return found


def test_nothing_set_means_localhost_25_as_in_flask_mail() -> None:
    found = smtp()
    assert (found.host, found.port, found.username, found.tls) == ("localhost", 25, None, "never")


def test_a_server_that_is_none_lets_the_app_start() -> None:
    assert read_smtp({"MAIL_SERVER": None}) is None
    assert read_smtp({"MAIL_SERVER": ""}) is None


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


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"MAIL_PORT": "smtp"}, "'MAIL_PORT' must be an integer."),
        ({"MAIL_USE_TLS": "perhaps"}, "'MAIL_USE_TLS' must be true or false."),
        ({"MAIL_USE_TLS": True, "MAIL_USE_SSL": True}, "port 587 wants MAIL_USE_TLS"),
        ({"MAIL_URL": "http://example.org"}, "'MAIL_URL' must be like smtp://"),
        ({"MAIL_URL": "smtp://example.org:port"}, "'MAIL_URL' must be like smtp://"),
        ({"MAIL_URL": "smtp://example.org?pol=3"}, "unknown option: pol"),
        ({"MAIL_URL": "smtp://example.org?pool=many"}, "must be an integer"),
        ({"MAIL_TIMEOUT": "soon"}, "'MAIL_TIMEOUT' must be a number."),
    ],
)
def test_a_wrong_setting_is_named(config: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        read_smtp(config)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"MAIL_ENGINE": "celry"}, "'MAIL_ENGINE' must be one of: outbox, immediate."),
        ({"MAIL_WORKER": "thred"}, "'MAIL_WORKER' must be one of: thread, external."),
        ({"MAIL_DEFAULT_SENDER": "nobody"}, "'MAIL_DEFAULT_SENDER'"),
        ({"MAIL_WORKER_RATE": "-1"}, "'MAIL_WORKER_RATE'"),
        ({"MAIL_RETRY_DELAYS": "soon"}, "'MAIL_RETRY_DELAYS' must be a list of seconds."),
    ],
)
def test_init_app_names_the_setting_that_is_wrong(config: dict[str, Any], named: str) -> None:
    app = Flask(__name__)
    app.config.update(config)
    with pytest.raises(ConfigurationError, match=named):
        Mail(app)


def test_bounces_may_go_nowhere() -> None:
    assert read_seal_defaults({"MAIL_ENVELOPE_FROM": "<>"}).envelope_from == ""
    assert read_seal_defaults({}).envelope_from is None


def test_answers_may_go_elsewhere() -> None:
    found = read_seal_defaults({"MAIL_REPLY_TO": ("Help", "help@example.org")}).reply_to
    assert found == (Address("help@example.org", "Help"),)


def test_no_error_shows_a_value() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_smtp({"MAIL_URL": "smtp://me:secret@mx.example.org:x"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", True),
        ("True", True),
        ("on", True),
        ("0", False),
        ("no", False),
        (0, False),
        (True, True),
    ],
)
def test_booleans_are_read_as_people_write_them(text: object, value: bool) -> None:
    assert boolean(text) is value


def test_the_pool_and_the_mechanisms_can_be_set() -> None:
    found = smtp(
        MAIL_POOL_SIZE="9",
        MAIL_POOL_MAX_AGE=60,
        MAIL_POOL_IDLE_TIMEOUT="5",
        MAIL_AUTH_MECHANISMS="login, plain",
        MAIL_MAX_EMAILS=7,
    )
    assert (found.pool_size, found.max_age, found.idle_timeout) == (9, 60.0, 5.0)
    assert (found.auth_mechanisms, found.max_messages) == (("LOGIN", "PLAIN"), 7)


def test_delays_may_be_text_or_a_list() -> None:
    assert seconds("1, 2,3") == seconds([1, 2, 3]) == (1.0, 2.0, 3.0)


def test_none_and_nothing_mean_unset() -> None:
    assert read({"MAIL_PORT": None}, "MAIL_PORT", int, 7) == 7
    assert read({"MAIL_PORT": ""}, "MAIL_PORT", int, 7) == 7


def test_the_outbox_is_in_the_instance_folder_unless_it_says_otherwise(tmp_path: Path) -> None:
    app = Flask(__name__, instance_path=str(tmp_path))
    assert read_outbox_url(app) == f"sqlite:///{tmp_path}/outbox.sqlite"
    app.config["MAIL_OUTBOX_URL"] = "sqlite:///mail/o.db"
    assert read_outbox_url(app) == f"sqlite:///{tmp_path}/mail/o.db"
    app.config["MAIL_OUTBOX_URL"] = "sqlite:////srv/o.db"
    assert read_outbox_url(app) == "sqlite:////srv/o.db"
