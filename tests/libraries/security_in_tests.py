"""How Flask-Security-Too and its users test the mails; run by test_flask_security.py in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, current_app
from flask_security.utils import send_mail

from libraries.security import create_app

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(TESTING=True, WTF_CSRF_ENABLED=False, SQLALCHEMY_DATABASE_URI="sqlite://")


@pytest.fixture
def outbox(app: Flask) -> Iterator[list[Any]]:
    with app.mail.record_messages() as outbox:  # type: ignore[attr-defined]
        yield outbox


def register(app: Flask, address: str) -> None:
    form = {"email": address, "password": PASSWORD, "password_confirm": PASSWORD}
    assert app.test_client().post("/register", data=form).status_code == 302


def test_the_recorded_message_has_the_link(app: Flask, outbox: list[Any]) -> None:
    register(app, "ada@example.org")
    [message] = outbox
    found = re.search(r"http://localhost(/confirm/\S+)", message.body)
    assert found is not None
    assert found[1] in message.html
    answer = app.test_client().get(found[1], follow_redirects=True)
    assert "has been confirmed" in answer.text


def test_the_recorded_message_has_flask_mails_fields(app: Flask, outbox: list[Any]) -> None:
    register(app, "bob@example.org")
    from flask_mail import Message  # after the application's module, which may have put ours there

    [message] = outbox
    assert type(message) is Message
    assert message.subject == "Welcome"
    assert message.recipients == ["bob@example.org"]
    assert message.sender == "app@example.org"
    assert message.send_to == {"bob@example.org"}
    assert "To: bob@example.org" in message_text(app, message)


def message_text(app: Flask, message: Any) -> str:
    with app.app_context():
        return str(message)


def test_what_hangs_in_the_extensions_records_too(app: Flask) -> None:
    with app.app_context(), current_app.extensions["mail"].record_messages() as outbox:
        register(app, "cyd@example.org")
        app.test_client().post("/confirm", data={"email": "cyd@example.org"})
    assert [message.subject for message in outbox] == ["Welcome", "Please confirm your email"]


def test_a_sender_set_after_the_start_is_the_sender(
    app: Flask, outbox: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "MAIL_DEFAULT_SENDER", "later@example.org")
    with app.app_context():
        send_mail("Subject", "dot@example.org", "security/email/reset_notice")
    assert outbox[0].sender == "later@example.org"


@pytest.mark.parametrize(
    ("address", "given", "shown"),
    [
        ("eve@example.org", ("The App", "named@example.org"), "The App <named@example.org>"),
        ("fay@example.org", "no-reply@localhost", "no-reply@localhost"),
    ],
)
def test_a_sender_may_have_a_name_or_a_host_without_a_dot(
    app: Flask,
    outbox: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    given: str | tuple[str, str],
    shown: str,
) -> None:
    monkeypatch.setitem(app.config, "SECURITY_EMAIL_SENDER", given)
    register(app, address)
    assert outbox[0].sender == shown
