"""``app.extensions["mail"]``: Flask-Mail's settings of an application, which people change as it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_outbox import ConfigurationError, DeliveryError, Mail, NoSenderError
from servers.scripted import ScriptedServer

from .conftest import message

FIELDS = {
    "server": "127.0.0.1",
    "username": None,
    "password": None,
    "port": 25,
    "use_tls": False,
    "use_ssl": False,
    "default_sender": None,
    "debug": 0,
    "max_emails": None,
    "suppress": False,
    "ascii_attachments": False,
}


def test_it_has_the_fields_of_flask_mail_and_no_others() -> None:
    assert vars(Mail().init_mail({})) == FIELDS


def test_init_mail_reads_what_is_set(app: Flask) -> None:
    config = {
        "MAIL_SERVER": "smtp.example.org",
        "MAIL_PORT": 587,
        "MAIL_USE_TLS": "true",
        "MAIL_USERNAME": "me",
        "MAIL_PASSWORD": "secret",
        "MAIL_DEFAULT_SENDER": ("Me", "me@example.org"),
        "MAIL_DEBUG": "1",
        "MAIL_MAX_EMAILS": 5,
        "MAIL_ASCII_ATTACHMENTS": True,
    }
    state = Mail().init_mail(config, False, True)
    assert (state.server, state.port, state.use_tls) == ("smtp.example.org", 587, True)
    assert (state.username, state.password) == ("me", "secret")
    assert state.default_sender == ("Me", "me@example.org")
    assert (state.debug, state.max_emails, state.ascii_attachments) == (1, 5, True)
    assert state.suppress is True


def test_what_is_neither_true_nor_false_is_named() -> None:
    with pytest.raises(ConfigurationError, match="'MAIL_USE_TLS' must be true or false"):
        Mail().init_mail({"MAIL_USE_TLS": "perhaps"})


def test_init_app_returns_it_and_mail_shows_its_fields(app: Flask) -> None:
    mail = Mail()
    state = mail.init_app(app)
    assert app.extensions["mail"] is mail.state is state
    assert (mail.default_sender, mail.port) == ("app@example.org", 25)


def test_a_name_that_nothing_has_is_none_as_in_flask_mail(app: Flask) -> None:
    assert Mail(app).nonsense is None
    assert Mail().suppress is None
    with pytest.raises(AttributeError):
        getattr(Mail(app), "_nonsense")  # noqa: B009 - that is the fact


def test_mail_knows_its_only_application(app: Flask) -> None:
    assert Mail(app).app is app
    assert Mail().app is None


# -- its changes are heeded by the next send -----------------------------------------------------------------------


def test_another_default_sender(mail: Mail) -> None:
    made = message()
    made.sender = None
    mail.state.default_sender = ("New", "new@example.org")
    view = mail.get(mail.send(made).id)
    assert view is not None
    assert (view.sender, message().sender) == ("new@example.org", "New <new@example.org>")


def test_no_default_sender(mail: Mail) -> None:
    mail.state.default_sender = None
    with pytest.raises(NoSenderError):
        mail.send(message())


def test_a_default_sender_that_is_none_is_named(mail: Mail) -> None:
    made = message()
    mail.state.default_sender = "nonsense"
    with pytest.raises(ConfigurationError, match="MAIL_DEFAULT_SENDER"):
        mail.send(made)


def test_ascii_attachments(mail: Mail) -> None:
    made = message()
    made.attach("Grüße.txt", data=b"x")
    mail.state.ascii_attachments = True
    assert 'filename="Grue.txt"' in made.as_string()


def test_another_sender_or_attachment_does_not_disturb_the_connections(
    mail: Mail, app: Flask
) -> None:
    before = app.extensions["flask_outbox"].wiring.process
    mail.state.default_sender = "new@example.org"
    mail.state.ascii_attachments = True
    assert app.extensions["flask_outbox"].wiring.process is before


def test_suppressed_for_a_while(mail: Mail) -> None:
    mail.state.suppress = True
    assert mail.send(message()).state == "suppressed"
    mail.state.suppress = False
    assert mail.send(message()).state == "queued"


def test_not_suppressed_in_a_test_that_wants_to_send(app: Flask) -> None:
    app.testing = True
    mail = Mail(app)
    with app.app_context():
        mail.state.suppress = False
        assert mail.send(message()).state == "queued"
    app.extensions["flask_outbox"].close()


def test_testing_that_is_set_after_init_app_suppresses(mail: Mail, app: Flask) -> None:
    app.testing = True
    assert mail.send(message()).state == "suppressed"


def test_another_server(immediate: Callable[..., Mail], server: ScriptedServer) -> None:
    mail = immediate()
    with pytest.raises(DeliveryError):
        mail.send(message())
    mail.state.port = server.port
    assert mail.send(message()).state == "sent"


def test_another_server_in_place_of_that_in_mail_url(
    app: Flask, immediate: Callable[..., Mail], server: ScriptedServer
) -> None:
    mail = immediate()
    app.config.update(MAIL_SERVER="", MAIL_PORT="", MAIL_URL="smtp://127.0.0.1:1")
    mail.init_app(app)
    mail.state.server, mail.state.port = "127.0.0.1", server.port
    assert mail.send(message()).state == "sent"


def test_an_attribute_of_mail_that_is_set_to_another_state_counts(mail: Mail, app: Flask) -> None:
    state = mail.init_mail(app.config)
    state.suppress = True
    mail.state = state
    assert app.extensions["mail"] is state
    assert mail.send(message()).state == "suppressed"


# -- what a subclass makes of it -----------------------------------------------------------------------------------


def test_what_a_subclass_puts_into_init_mail_counts(
    immediate: Callable[..., Mail], server: ScriptedServer
) -> None:
    class FromDatabase(Mail):
        def init_mail(self, config: Any, debug: bool | int = False, testing: bool = False) -> Any:
            own = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": server.port}
            return super().init_mail({**config, **own}, debug, testing)

    assert immediate(kind=FromDatabase).send(message()).state == "sent"


def test_a_subclass_that_always_suppresses_sends_nothing(app: Flask) -> None:
    class Quiet(Mail):
        def init_mail(self, config: Any, debug: bool | int = False, testing: bool = False) -> Any:
            return super().init_mail(config, debug, True)

    mail = Quiet(app)
    with app.app_context():
        assert mail.send(message()).state == "suppressed"


# -- one application, several instances ----------------------------------------------------------------------------


def test_a_second_instance_with_the_same_settings_shares_everything(app: Flask) -> None:
    first, second = Mail(app), Mail(app)
    with app.app_context():
        assert first.find_desk() is second.find_desk()
        wiring = first.find_desk().wiring
        Mail(app)
        assert first.find_desk().wiring is wiring


def test_a_second_instance_with_other_settings_replaces_them(app: Flask) -> None:
    mail = Mail(app)
    app.config["MAIL_DEFAULT_SENDER"] = "other@example.org"
    Mail(app)
    with app.app_context():
        assert message().sender == "other@example.org"
        view = mail.get(mail.send(message()).id)
    app.extensions["flask_outbox"].close()
    assert view is not None
    assert view.sender == "other@example.org"


def test_mail_of_current_app_within_a_request_calls_no_setup_method(app: Flask) -> None:
    from flask import current_app

    @app.get("/")
    def index() -> str:
        return Mail(current_app).send(message()).state

    client = app.test_client()
    assert (client.get("/").text, client.get("/").text) == ("queued", "queued")
    app.extensions["flask_outbox"].close()


def test_a_setting_that_is_changed_to_nonsense_is_told_to_who_sends_alone(app: Flask) -> None:
    mail = Mail(app)
    app.get("/")(lambda: "no mail here")
    client = app.test_client()
    assert client.get("/").text == "no mail here"
    mail.state.port = "nonsense"  # type: ignore[union-attr, assignment]
    assert client.get("/").text == "no mail here"
    with pytest.raises(ConfigurationError, match="MAIL_PORT"):
        mail.send(message())
    app.extensions["flask_outbox"].close()


def test_an_application_without_mail_is_sent_for_by_the_only_other_one(app: Flask) -> None:
    mail = Mail(app)
    with Flask("other").app_context():
        assert mail.send(message(sender="me@example.org")).state == "queued"
    app.extensions["flask_outbox"].close()
