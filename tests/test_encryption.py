"""``MAIL_OUTBOX_KEY`` from the setting to the command."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable

import pytest
from flask import Flask

from flask_outbox import ConfigurationError, Mail, Message
from flask_outbox._cli import mail_cli
from flask_outbox._settings import read_settings

OLD, NEW = (b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def send(mail: Mail) -> str:
    return mail.send(Message("Code", recipients=["a@example.org"], body="the code is 123456")).id


@pytest.fixture
def configured(app: Flask, mail: Mail) -> Callable[[object], None]:
    """Let the application have those keys from now on."""

    def configured(keys: object) -> None:
        app.config["MAIL_OUTBOX_KEY"] = keys
        mail.init_app(app)

    return configured


def run(app: Flask, *arguments: str) -> str:
    result = app.test_cli_runner().invoke(mail_cli, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("given", [f"{NEW},{OLD}", f"{NEW} {OLD}", [NEW, OLD], (NEW, OLD)])
def test_several_keys_are_a_list_or_text(given: object) -> None:
    assert len(read_settings({"MAIL_OUTBOX_KEY": given}).outbox_key) == 2


def test_a_key_may_be_of_either_base64() -> None:
    key = b"\xfb\xff" * 16
    for text in (b64encode(key), urlsafe_b64encode(key)):
        assert read_settings({"MAIL_OUTBOX_KEY": text.decode()}).outbox_key == (key,)


@pytest.mark.parametrize(
    "given",
    ["a passphrase", b64encode(b"too short").decode(), f"{NEW},{NEW}", [NEW, ""], 5, b"x" * 32],
)
def test_what_is_no_key_is_refused_without_being_shown(given: object) -> None:
    with pytest.raises(ConfigurationError, match="32 random bytes in base64") as error:
        read_settings({"MAIL_OUTBOX_KEY": given})
    assert str(given) not in str(error.value)


def test_what_was_sent_is_shown_to_whoever_has_the_key(
    app: Flask, mail: Mail, configured: Callable[[object], None]
) -> None:
    configured(NEW)
    letter_id = send(mail)
    wiring = app.extensions["flask_outbox"].wiring
    letter = wiring.reports.content(letter_id)
    assert letter.text == "the code is 123456"
    assert NEW not in f"{wiring!r}{wiring.store!r}{wiring.store.contents!r}"


def test_rekey_tells_what_it_has_done(
    app: Flask, mail: Mail, configured: Callable[[object], None]
) -> None:
    configured(OLD)
    send(mail)
    configured([NEW, OLD])
    assert run(app, "rekey") == "1 messages and 0 attachments were encrypted.\n"
    configured(NEW)
    assert run(app, "rekey", "--json") == (
        '{"seen": 1, "contents": 0, "attachments": 0, "unread": 0}\n'
    )


def test_rekey_without_a_key_says_what_is_missing(app: Flask, mail: Mail) -> None:
    result = app.test_cli_runner().invoke(mail_cli, ["rekey"])
    assert (result.exit_code, "'MAIL_OUTBOX_KEY' must be set" in result.output) == (1, True)
