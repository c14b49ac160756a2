"""What a beginner is told."""

from __future__ import annotations

import pytest

from flask_outbox.rules.outcomes import Kind, Outcome, Phase, Scope
from flask_outbox.telemetry.cures import cure


@pytest.mark.parametrize(
    ("outcome", "setting"),
    [
        (Outcome(Kind.REFUSED, Scope.ACCOUNT, code=535), "MAIL_PASSWORD"),
        (Outcome(Kind.REFUSED, Scope.ACCOUNT, code=530, text="log in first"), "both of them"),
        (
            Outcome(Kind.REFUSED, Scope.ACCOUNT, code=530, text="Must issue STARTTLS first"),
            "MAIL_USE_TLS",
        ),
        (
            Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="TLS failed: [SSL: WRONG_VERSION_NUMBER]"),
            "MAIL_USE_SSL",
        ),
        (Outcome(Kind.REFUSED, Scope.ACCOUNT, code=550), "MAIL_DEFAULT_SENDER"),
        (
            Outcome(Kind.REFUSED, Scope.TRANSPORT, text="certificate verify failed: self-signed"),
            "MAIL_TLS_CA",
        ),
        (
            Outcome(
                Kind.REFUSED,
                Scope.TRANSPORT,
                text="certificate: Hostname mismatch, not valid for 'x'",
            ),
            "set MAIL_SERVER to the server's name",
        ),
        (
            Outcome(Kind.REFUSED, Scope.TRANSPORT, text="certificate has expired"),
            "set the clock",
        ),
        (
            Outcome(Kind.REFUSED, Scope.ACCOUNT, text="offers no AUTH by PLAIN, LOGIN"),
            "submission port",
        ),
        (Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="Name or service not known"), "the DNS"),
        (Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="no reply within 10 s"), "firewall"),
        (Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="Connection refused"), "MAIL_PORT"),
        (Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="no answer in time"), "MAIL_SERVER"),
        (
            Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="no transport named 'default' is"),
            "MAIL_URL",
        ),
        (
            Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="no transport named 'x' is"),
            "MAIL_TRANSPORTS",
        ),
        (
            Outcome(Kind.REFUSED, Scope.ACCOUNT, code=550, text="authentication required"),
            "MAIL_USERNAME",
        ),
        (
            Outcome(Kind.REFUSED, Scope.MESSAGE, code=553, text="Sender address rejected"),
            "MAIL_DEFAULT_SENDER",
        ),
        (Outcome(Kind.REFUSED, Scope.MESSAGE, code=552, enhanced="5.3.4"), "MAIL_MAX_SIZE"),
        (Outcome(Kind.REFUSED, code=554, text="Relay access denied"), "MAIL_USERNAME"),
        (
            Outcome(Kind.DEFERRED, Scope.TRANSPORT, code=450, text="too many messages"),
            "MAIL_WORKER_RATE",
        ),
        (
            Outcome(Kind.DEFERRED, Scope.TRANSPORT, code=503, text="Bad sequence of commands"),
            "MAIL_PIPELINING=False",
        ),
        (
            Outcome(Kind.DEFERRED, Scope.TRANSPORT, code=554, text="SMTP command pipelining"),
            "MAIL_PIPELINING=False",
        ),
        (Outcome(Kind.REFUSED, Scope.TRANSPORT, code=554, text="blocked"), "587"),
        (Outcome(Kind.REFUSED, Scope.RECIPIENT, enhanced="5.6.7"), "SMTPUTF8"),
    ],
)
def test_a_failure_that_a_setting_mends_names_it(outcome: Outcome, setting: str) -> None:
    assert setting in cure(outcome)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(Kind.ACCEPTED, code=250),
        Outcome(Kind.REFUSED, Scope.RECIPIENT, code=550),
        Outcome(Kind.UNKNOWN, Scope.TRANSPORT, Phase.AFTER),
    ],
)
def test_where_no_setting_helps_nothing_is_said(outcome: Outcome) -> None:
    assert cure(outcome, prefix=" -- ") == ""
