"""What the immediate engine raises: ours, and what Flask-Mail would have raised, with what the server said."""

from __future__ import annotations

import pickle
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from flask import Flask

from flask_outbox import DeliveryError, Mail, MailError, MessageError
from flask_outbox.engines.smtplib_errors import delivery_error
from flask_outbox.mail.address import Address
from flask_outbox.mail.letter import Letter
from flask_outbox.rules.outcomes import Kind, Outcome, Report, Scope
from servers.scripted import DROP, HANG, ScriptedServer

from .conftest import message

LETTER = Letter("0" * 32, "<a@b.org>", 0, "a@b.org", ("c@d.org",), Address("a@b.org"))


def raised(mail: Mail, **fields: Any) -> Any:
    with pytest.raises(DeliveryError) as caught:
        mail.send(message(**fields))
    return caught.value


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ({"GREETING": "554 5.3.2 No"}, smtplib.SMTPConnectError),
        ({"EHLO": "554 No", "HELO": "554 No"}, smtplib.SMTPHeloError),
        ({"MAIL": "550 5.7.1 Not you"}, smtplib.SMTPSenderRefused),
        ({"RCPT": "550 5.1.1 Nobody"}, smtplib.SMTPRecipientsRefused),
        ({"DATA": "554 5.3.0 No"}, smtplib.SMTPDataError),
        ({"CONTENT": "554 5.6.0 No"}, smtplib.SMTPDataError),
        ({"EHLO": DROP}, smtplib.SMTPServerDisconnected),
        ({"CONTENT": DROP}, smtplib.SMTPServerDisconnected),
    ],
)
def test_a_refusal_is_the_class_of_smtplib(
    immediate: Callable[..., Mail], script: dict[str, Any], kind: type[Exception]
) -> None:
    with ScriptedServer(script=script) as server:
        error = raised(immediate(server))
    assert isinstance(error, kind)
    assert isinstance(error, OSError)
    assert isinstance(error, MailError)


def test_a_wrong_password_is_an_authentication_error(immediate: Callable[..., Mail]) -> None:
    with ScriptedServer(accounts={"me": "right"}) as server:
        error = raised(immediate(server, MAIL_USERNAME="me", MAIL_PASSWORD="wrong"))
    assert isinstance(error, smtplib.SMTPAuthenticationError)
    assert (error.smtp_code, error.scope) == (535, "account")


LOGIN = {"MAIL_USERNAME": "me", "MAIL_PASSWORD": "secret"}


@pytest.mark.parametrize(
    ("server", "config", "kind"),
    [
        ({}, LOGIN, smtplib.SMTPNotSupportedError),
        ({"accounts": LOGIN, "mechanisms": "GSSAPI"}, LOGIN, smtplib.SMTPException),
        ({"accounts": LOGIN, "script": {"AUTH": "334 Hm"}}, LOGIN, smtplib.SMTPAuthenticationError),
        ({}, {"MAIL_USE_TLS": True}, smtplib.SMTPNotSupportedError),
        ({"capabilities": ["SIZE 9"]}, {}, smtplib.SMTPSenderRefused),
    ],
    ids=["no AUTH", "no mechanism", "no challenge", "no STARTTLS", "too large"],
)
def test_what_a_server_lacks_is_the_class_of_smtplib(
    immediate: Callable[..., Mail],
    server: dict[str, Any],
    config: dict[str, Any],
    kind: type[Exception],
) -> None:
    with ScriptedServer(**server) as scripted:
        error = raised(immediate(scripted, **config))
    assert isinstance(error, kind)
    assert not error.code or error.code == error.smtp_code


def test_what_ends_a_login_is_an_authentication_error(
    immediate: Callable[..., Mail], caplog: pytest.LogCaptureFixture
) -> None:
    def give() -> str:
        raise LookupError

    token = {"MAIL_USERNAME": "me", "MAIL_OAUTH_TOKEN": give}
    with ScriptedServer(accounts={"me": ""}, mechanisms="XOAUTH2") as server:
        error = raised(immediate(server, **token))
    assert isinstance(error, smtplib.SMTPAuthenticationError)
    assert "LookupError" in str(error)


def test_without_smtputf8_an_address_beyond_ascii_is_not_supported(
    immediate: Callable[..., Mail],
) -> None:
    with ScriptedServer(["SIZE"]) as server:
        error = raised(immediate(server), recipients=["jürgen@example.org"])
    assert isinstance(error, smtplib.SMTPNotSupportedError)


def test_nobody_there_is_a_connection_refused_error(immediate: Callable[..., Mail]) -> None:
    error = raised(immediate())
    assert isinstance(error, ConnectionRefusedError)
    assert (error.scope, error.code) == ("transport", 0)


def test_no_such_host_is_a_gaierror(immediate: Callable[..., Mail]) -> None:
    mail = immediate()
    mail.state.server = "nowhere.invalid"
    assert isinstance(raised(mail), socket.gaierror)


def test_no_answer_is_a_timeout(immediate: Callable[..., Mail]) -> None:
    with ScriptedServer(script={"EHLO": HANG}) as server:
        assert isinstance(raised(immediate(server, MAIL_TIMEOUT=0.1)), TimeoutError)


def test_an_untrusted_certificate_is_a_verification_error(immediate: Callable[..., Mail]) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with ScriptedServer(tls=context) as server:
        error = raised(immediate(server, MAIL_USE_TLS=True))
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert "MAIL_TLS_CA" in str(error)


def test_no_server_at_all_is_an_smtp_exception(app: Flask, immediate: Callable[..., Mail]) -> None:
    mail = immediate()
    app.config["MAIL_SERVER"] = None
    mail.init_app(app)
    error = raised(mail)
    assert isinstance(error, smtplib.SMTPException)
    assert not error.code


def test_the_error_has_what_the_server_said(immediate: Callable[..., Mail]) -> None:
    with ScriptedServer(script={"MAIL": "550 5.7.1 Not you"}) as server:
        error = raised(immediate(server))
    assert str(error) == "you@example.org: 550 5.7.1 Not you"
    assert (error.code, error.enhanced, error.reply) == (550, "5.7.1", "Not you")
    assert (error.scope, error.phase, error.transport) == ("message", "before", "default")
    assert (error.smtp_code, error.smtp_error, error.sender) == (550, b"Not you", "app@example.org")


def test_refused_recipients_are_read_as_ours_and_as_smtplibs(
    immediate: Callable[..., Mail],
) -> None:
    with ScriptedServer(script={"RCPT": ["550 5.1.1 Nobody", None]}) as server:
        error = raised(immediate(server), recipients=["no@example.org", "yes@example.org"])
    code, text = error.recipients["no@example.org"]
    assert (code, text) == (550, b"Nobody")
    assert error.recipients["no@example.org"].enhanced == "5.1.1"
    assert list(error.recipients) == ["no@example.org"]
    assert error.report.outcomes["yes@example.org"].accepted


def test_the_error_can_be_pickled() -> None:
    report = Report({"c@d.org": Outcome(Kind.REFUSED, code=550, cause="rcpt")}, "default")
    again = pickle.loads(pickle.dumps(delivery_error(LETTER, report)))
    assert (type(again), again.code, str(again)) == (DeliveryError, 550, "c@d.org: 550")


def test_a_cause_that_nobody_knows_is_an_smtp_exception() -> None:
    outcome = Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="Odd", cause="CarrierPigeonError")
    error = delivery_error(LETTER, Report.of(LETTER.envelope_to, outcome))
    assert isinstance(error, smtplib.SMTPException)


def test_an_error_about_the_message_blames_the_message() -> None:
    error = MessageError("wrong", field="subject")
    assert (error.scope, error.code, error.reply, error.transport) == ("message", 0, "", "")


def test_smtplib_is_not_imported_before_it_is_needed() -> None:
    code = (
        "import sys; from flask import Flask; from flask_outbox import Mail;"
        "app = Flask('app'); app.config['MAIL_ENGINE'] = 'immediate'; Mail(app);"
        "assert 'smtplib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
