"""The way of a send, ``Mail.send → connect → Message.send → Connection.send``, and what people override on it."""

from __future__ import annotations

import smtplib
import warnings
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from typing import Any, ClassVar

import pytest
from flask import Flask

from flask_outbox import (
    BadHeaderError,
    Connection,
    Mail,
    Message,
    MessageError,
    NoRecipientsError,
    NoSenderError,
    Receipt,
    email_dispatched,
)
from servers.scripted import ScriptedServer

from .conftest import message


class Host:
    """What smtplib's connection would be asked."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.quits = 0

    def sendmail(self, *given: Any) -> None:
        self.sent.append(given)

    def quit(self) -> None:
        self.quits += 1


# -- connections ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["outbox", "immediate"])
def test_several_messages_go_over_a_connection_with_every_engine(
    app: Flask, server: ScriptedServer, engine: str
) -> None:
    app.config.update(MAIL_ENGINE=engine, MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port)
    mail = Mail(app)
    with app.app_context(), mail.connect() as connection:
        receipts = [connection.send(message()) for _ in range(3)]
        receipts.append(connection.send_message("Hello", ["you@example.org"], "Hi"))
    app.extensions["flask_outbox"].close()
    assert len({receipt.id for receipt in receipts}) == 4
    assert {receipt.state for receipt in receipts} == {"queued" if engine == "outbox" else "sent"}
    assert len(server.messages) == (0 if engine == "outbox" else 4)


def test_the_immediate_engine_keeps_its_connection_between_sends(
    immediate: Callable[..., Mail], server: ScriptedServer
) -> None:
    mail = immediate(server)
    for _ in range(3):
        mail.send(message())
    assert len(server.sessions) == 1


def test_after_mail_max_emails_there_is_another_connection(
    immediate: Callable[..., Mail], server: ScriptedServer
) -> None:
    mail = immediate(server, MAIL_MAX_EMAILS=2)
    with mail.connect() as connection:
        counts = [(connection.send(message()), connection.num_emails)[1] for _ in range(5)]
    assert (counts, len(server.sessions)) == ([1, 0, 1, 0, 1], 3)


def test_an_envelope_sender_may_be_given_with_the_send(
    immediate: Callable[..., Mail], server: ScriptedServer
) -> None:
    with immediate(server).connect() as connection:
        connection.send(message(), envelope_from=("Bounces", "bounces@example.org"))
        connection.send(message(), "plain@example.org")
    assert [sent.sender for sent in server.messages] == ["bounces@example.org", "plain@example.org"]


def test_a_wrong_envelope_sender_is_named(mail: Mail) -> None:
    with mail.connect() as connection, pytest.raises(MessageError) as caught:
        connection.send(message(), envelope_from="nonsense")
    assert caught.value.field == "envelope_from"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"recipients": []}, NoRecipientsError),
        ({"subject": "a\n\r"}, BadHeaderError),
    ],
)
def test_a_connection_refuses_what_a_send_refuses(
    mail: Mail, fields: dict[str, Any], error: type[Exception]
) -> None:
    with mail.connect() as connection, pytest.raises(error):
        connection.send(message(**fields))


def test_no_recipient_and_no_sender_are_assertion_errors_as_in_flask_mail(mail: Mail) -> None:
    assert issubclass(NoRecipientsError, AssertionError)
    assert issubclass(NoSenderError, AssertionError)


def test_without_an_application_a_connection_says_so() -> None:
    with pytest.raises(RuntimeError, match="push an application context"):
        Mail().connect()


# -- overriding ----------------------------------------------------------------------------------------------------


def test_each_step_that_is_overridden_is_taken(mail: Mail) -> None:
    steps: list[str] = []

    class OwnConnection(Connection):
        def send(self, message: Message, envelope_from: Any = None) -> Receipt:
            steps.append("Connection.send")
            return super().send(message, envelope_from)

    class OwnMessage(Message):
        def send(self, connection: Connection) -> Receipt:
            steps.append("Message.send")
            return super().send(connection)

    class OwnMail(Mail):
        def send(self, message: Message, **options: Any) -> Receipt:
            steps.append("Mail.send")
            return super().send(message, **options)

        def connect(self) -> Connection:
            steps.append("Mail.connect")
            return OwnConnection(self.state)

    receipt = OwnMail().send(OwnMessage("Hello", ["you@example.org"], "Hi"), key="once")
    assert steps == ["Mail.send", "Mail.connect", "Message.send", "Connection.send"]
    assert receipt.state == "queued"
    assert mail.send(message(), key="twice").id != receipt.id


def test_options_of_a_send_pass_through_the_chain(mail: Mail) -> None:
    first = mail.send(message(), key="welcome:1", priority="high")
    assert mail.send(message(), key="welcome:1").id == first.id


def test_a_step_that_hands_nothing_on_suppresses(mail: Mail) -> None:
    class Dropped(Message):
        def send(self, connection: Connection) -> Receipt:
            return None  # type: ignore[return-value]  # Flask-Mail's gives none

    with mail.record_messages() as outbox:
        receipt = mail.send(Dropped("Hello", ["you@example.org"], "Hi"))
    assert (receipt.state, receipt.durable, outbox) == ("suppressed", False, [])


def test_the_state_sends_too(mail: Mail, app: Flask) -> None:
    state = app.extensions["mail"]
    assert state.send(message()).state == "queued"
    assert state.send_message("Hello", ["you@example.org"], "Hi").state == "queued"
    assert [view.subject for view in state.messages()] == ["Hello", "Hello"]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A patch of ``Connection.configure_host``, as people write it for time-outs and logins of their own."""
    host = Host()
    monkeypatch.setattr(Connection, "configure_host", lambda self: host)
    return host


def test_configure_host_is_called_with_the_immediate_engine(
    immediate: Callable[..., Mail], host: Host
) -> None:
    mail = immediate()
    made = message(
        sender="Müller <me@example.org>",
        mail_options=["BODY=8BITMIME"],
        rcpt_options=["NOTIFY=NEVER"],
    )
    assert mail.send(made).state == "sent"
    assert host.sent == [
        (
            "=?utf-8?q?M=C3=BCller?= <me@example.org>",
            ["you@example.org"],
            made.as_bytes(),
            ["BODY=8BITMIME"],
            ["NOTIFY=NEVER"],
        )
    ]
    assert host.quits == 1


def test_configure_host_is_called_again_after_max_emails(
    immediate: Callable[..., Mail], host: Host
) -> None:
    mail = immediate(MAIL_MAX_EMAILS=1)
    with mail.connect() as connection:
        connection.send(message())
        connection.send(message())
    assert host.quits == 3


def test_configure_host_is_not_called_where_sending_is_suppressed(
    immediate: Callable[..., Mail], host: Host
) -> None:
    mail = immediate(MAIL_SUPPRESS_SEND=True)
    with mail.connect() as connection:
        assert connection.host is None
        assert connection.send(message()).state == "suppressed"


def test_a_configure_host_that_is_ignored_warns_once_with_the_settings(
    mail: Mail, host: Host
) -> None:
    with pytest.warns(UserWarning, match=r"configure_host.*MAIL_TIMEOUT.*MAIL_ENGINE='immediate'"):
        assert mail.send(message()).state == "queued"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mail.send(message())
    assert not host.sent


def test_a_host_that_is_put_into_a_connection_is_used(mail: Mail) -> None:
    host = Host()
    with mail.connect() as connection:
        connection.host = host  # type: ignore[assignment]  # a test's
        connection.send(message())
    assert len(host.sent) == 1


def test_configure_host_itself_gives_a_connection_of_the_standard_library(
    immediate: Callable[..., Mail], server: ScriptedServer
) -> None:
    with immediate(server).connect() as connection:
        host = connection.configure_host()
        assert isinstance(host, smtplib.SMTP)
        assert host.ehlo()[0] == 250
        host.quit()


# -- foreign messages ----------------------------------------------------------------------------------------------


def test_a_message_of_the_standard_library_is_taken(mail: Mail, app: Flask) -> None:
    foreign = EmailMessage()
    foreign["Subject"], foreign["To"] = "Foreign", "you@example.org"
    foreign.set_content("Hi")
    with mail.record_messages() as outbox:
        receipts = [mail.send(foreign), app.extensions["mail"].send(foreign)]  # type: ignore[arg-type]
    assert [mail.get(receipt.id).subject for receipt in receipts] == ["Foreign"] * 2  # type: ignore[union-attr]
    assert outbox == [foreign, foreign]


def test_a_message_of_djangos_kind_is_sent_by_us_and_not_by_itself(mail: Mail) -> None:
    class EmailMessage:
        subject, body, from_email = "Foreign", "Hi", "me@example.org"
        to, cc, bcc, reply_to, attachments = ["you@example.org"], [], [], [], []  # type: ignore[var-annotated]
        extra_headers: ClassVar[dict[str, str]] = {}

        def send(self, fail_silently: bool = False) -> int:
            raise AssertionError("it would go over a connection of its own")

    assert mail.send(EmailMessage()).state == "queued"  # type: ignore[arg-type]


def test_what_is_no_message_is_refused_with_advice(mail: Mail) -> None:
    with pytest.raises(MessageError, match="not a message"):
        mail.send("Hello")  # type: ignore[arg-type]  # that is the mistake


# -- record_messages and email_dispatched --------------------------------------------------------------------------


def test_record_messages_gives_the_very_messages(mail: Mail) -> None:
    one, two = message(), message()
    with mail.record_messages() as outbox:
        mail.send(one)
        with mail.connect() as connection:
            connection.send(two)
    mail.send(message())
    assert outbox == [one, two]


def test_a_message_that_is_refused_is_not_recorded(mail: Mail) -> None:
    with mail.record_messages() as outbox, pytest.raises(NoRecipientsError):
        mail.send(message(recipients=[]))
    assert not outbox


def test_a_message_that_was_not_delivered_is_not_recorded(immediate: Callable[..., Mail]) -> None:
    mail = immediate()
    with mail.record_messages() as outbox, pytest.raises(ConnectionRefusedError):
        mail.send(message())
    assert not outbox


def new_order(app: Any, message: Any) -> tuple[str, Any, Any]:
    return "new", app, message


def old_order(message: Any, app: Any) -> tuple[str, Any, Any]:
    return "old", app, message


class Receiver:
    def new(self, sender: Any, message: Any, **more: Any) -> tuple[str, Any, Any]:
        return "new", sender, message

    def old(self, message: Any, app: Any) -> tuple[str, Any, Any]:
        return "old", app, message


receiver = Receiver()


@pytest.mark.parametrize("hear", [new_order, old_order, receiver.new, receiver.old])
def test_receivers_written_for_either_order_hear_of_a_message(
    mail: Mail, app: Flask, hear: Callable[..., Any]
) -> None:
    with email_dispatched.connected_to(hear):
        sent = message()
        heard = [told for _, told in email_dispatched.send(app, message=sent)]
    assert heard == [(hear.__name__.removesuffix("_order"), app, sent)]


def test_a_receiver_may_listen_to_one_application(mail: Mail, app: Flask) -> None:
    heard: list[Any] = []

    def hear(sender: Flask, message: Message) -> None:
        heard.append(sender)

    email_dispatched.connect(hear, sender=app)
    mail.send(message())
    email_dispatched.send(Flask("other"), message=message())
    email_dispatched.disconnect(hear, sender=app)
    assert heard == [app]


def test_a_muted_signal_is_silent(mail: Mail, app: Flask) -> None:
    with mail.record_messages() as outbox, email_dispatched.muted():
        mail.send(message())
    assert not outbox
