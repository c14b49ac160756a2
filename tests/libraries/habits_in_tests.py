"""How people use Flask-Mail beside its quickstart; run by test_habits.py in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask, current_app

from libraries import faces

Mail = faces.mail_class()

from flask_mail import Attachment, Connection, Message, email_dispatched  # noqa: E402

#: Made when the module is imported: no application is there yet.
NEWS = Message("News", sender="news@example.org", body="Nothing new.")

mail = Mail()


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)
    app.config.from_prefixed_env()
    mail.init_app(app)
    return app


@pytest.fixture
def context(app: Flask) -> Iterator[Flask]:
    with app.app_context():
        yield app


def test_one_connection_takes_many_messages(context: Flask) -> None:
    with mail.connect() as connection:
        for number in range(12):
            recipients = [f"bulk{number}@example.org"]
            connection.send(Message("Bulk", recipients=recipients, body=f"Number {number}"))
        connection.send_message("Bulk", recipients=["last@example.org"], body="The last")


def test_a_message_made_without_an_application_is_sent_later(context: Flask) -> None:
    NEWS.recipients = ["reader@example.org"]
    mail.send(NEWS)


def test_what_hangs_in_the_extensions_sends(context: Flask) -> None:
    current_app.extensions["mail"].send(
        Message("By the extensions", recipients=["extensions@example.org"], body="Hello")
    )


def test_a_tuple_for_the_sender_and_an_attachment(context: Flask) -> None:
    message = Message(sender=("Me", "me@example.org"), recipients=["files@example.org"])
    message.subject = "Files"
    message.body = "See below."
    message.attach("a.txt", "text/plain", "one")
    message.attachments.append(Attachment("b.bin", "application/octet-stream", b"\0two"))
    mail.send(message)


def test_a_suppressed_message_is_recorded_and_not_sent(context: Flask) -> None:
    context.extensions["mail"].suppress = True
    with mail.record_messages() as outbox:
        mail.send_message("Quiet", recipients=["nobody@example.org"], body="Not sent")
    assert [(message.subject, message.send_to) for message in outbox] == [
        ("Quiet", {"nobody@example.org"})
    ]


def test_dispatched_is_told_of_the_message_itself(context: Flask) -> None:
    told = []

    def receive(app: Flask, message: Message) -> None:
        told.append((app, message))

    message = Message("Told", recipients=["told@example.org"], body="Hello")
    with email_dispatched.connected_to(receive):
        mail.send(message)
    assert told == [(context, message)]


def test_settings_make_a_state_without_an_application(context: Flask) -> None:
    state = mail.init_mail(
        {
            "MAIL_SERVER": "mail.example.org",
            "MAIL_PORT": 2525,
            "MAIL_DEFAULT_SENDER": "a@b.example",
        },
        debug=False,
        testing=True,
    )
    assert (state.server, state.port, state.default_sender) == (
        "mail.example.org",
        2525,
        "a@b.example",
    )
    assert state.suppress
    assert Connection(state).mail is state


def test_a_state_of_its_own_sends_by_its_own_connection(context: Flask) -> None:
    state = mail.init_mail(context.config, context.debug, testing=False)
    with Connection(state) as connection:
        connection.send(Message("Own state", recipients=["state@example.org"], body="Hello"))
