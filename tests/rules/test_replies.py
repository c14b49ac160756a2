"""What SMTP replies mean."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.rules.outcomes import Kind, Phase, Scope
from flask_outbox.rules.replies import Step, fitting, outcome, retry_after
from flask_outbox.rules.reply_table import TABLE

DEFERRED, REFUSED = Kind.DEFERRED, Kind.REFUSED
RECIPIENT, MESSAGE, ACCOUNT, TRANSPORT = Scope

CASES = [
    # the server is going away
    *((step, 421, "4.3.2", DEFERRED, TRANSPORT) for step in Step),
    # opening
    (Step.GREETING, 451, "", DEFERRED, TRANSPORT),
    (Step.GREETING, 554, "5.7.1", REFUSED, TRANSPORT),
    (Step.HELLO, 550, "", REFUSED, TRANSPORT),
    (Step.STARTTLS, 454, "4.7.0", DEFERRED, TRANSPORT),
    (Step.STARTTLS, 501, "5.5.4", REFUSED, TRANSPORT),
    # login
    (Step.AUTH, 535, "5.7.8", REFUSED, ACCOUNT),
    (Step.AUTH, 534, "5.7.9", REFUSED, ACCOUNT),
    (Step.AUTH, 501, "", REFUSED, ACCOUNT),
    (Step.AUTH, 454, "4.7.0", DEFERRED, TRANSPORT),
    # login wanted, wrong or blocked, said later
    (Step.MAIL, 530, "5.7.0", REFUSED, ACCOUNT),
    (Step.MAIL, 530, "", REFUSED, ACCOUNT),
    (Step.RCPT, 530, "5.7.57", REFUSED, ACCOUNT),
    (Step.MAIL, 550, "5.7.13", REFUSED, ACCOUNT),
    (Step.CONTENT, 550, "5.7.705", REFUSED, ACCOUNT),
    (Step.CONTENT, 550, "5.4.5", REFUSED, ACCOUNT),
    # the sender's address
    (Step.MAIL, 553, "5.7.1", REFUSED, MESSAGE),
    (Step.MAIL, 550, "", REFUSED, MESSAGE),
    (Step.MAIL, 501, "5.1.7", REFUSED, MESSAGE),
    (Step.CONTENT, 550, "5.7.60", REFUSED, MESSAGE),
    (Step.MAIL, 450, "4.1.8", DEFERRED, MESSAGE),
    # the server's own trouble before the content
    (Step.MAIL, 451, "", DEFERRED, TRANSPORT),
    (Step.MAIL, 452, "", DEFERRED, TRANSPORT),
    (Step.MAIL, 452, "4.3.1", DEFERRED, TRANSPORT),
    (Step.DATA, 451, "4.4.2", DEFERRED, TRANSPORT),
    *((step, 503, "5.5.1", DEFERRED, TRANSPORT) for step in (Step.MAIL, Step.RCPT, Step.DATA)),
    # recipients
    (Step.RCPT, 550, "5.1.1", REFUSED, RECIPIENT),
    (Step.RCPT, 553, "5.7.1", REFUSED, RECIPIENT),
    (Step.RCPT, 554, "5.7.1", REFUSED, RECIPIENT),
    (Step.RCPT, 450, "4.2.1", DEFERRED, RECIPIENT),
    (Step.RCPT, 451, "4.3.0", DEFERRED, RECIPIENT),
    (Step.RCPT, 452, "4.5.3", DEFERRED, RECIPIENT),
    (Step.RCPT, 552, "", DEFERRED, RECIPIENT),
    (Step.RCPT, 552, "5.5.3", DEFERRED, RECIPIENT),
    (Step.RCPT, 552, "5.2.2", REFUSED, RECIPIENT),
    # size
    (Step.MAIL, 552, "5.3.4", REFUSED, MESSAGE),
    (Step.MAIL, 552, "", REFUSED, MESSAGE),
    (Step.RCPT, 552, "5.3.4", REFUSED, MESSAGE),
    (Step.CONTENT, 552, "5.3.4", REFUSED, MESSAGE),
    # content
    (Step.DATA, 554, "", REFUSED, MESSAGE),
    (Step.CONTENT, 554, "5.7.1", REFUSED, MESSAGE),
    (Step.CONTENT, 451, "4.3.0", DEFERRED, MESSAGE),
    (Step.CONTENT, 450, "", DEFERRED, MESSAGE),
]


@pytest.mark.parametrize(("step", "code", "enhanced", "kind", "scope"), CASES)
def test_the_table(step: Step, code: int, enhanced: str, kind: Kind, scope: Scope) -> None:
    found = outcome(step, code, enhanced, "text")
    assert (found.kind, found.scope, found.code, found.enhanced) == (kind, scope, code, enhanced)


#: What servers really say where the code alone misleads.
SAID = [
    # a login is wanted
    (Step.RCPT, "550 authentication required", REFUSED, ACCOUNT),
    (Step.MAIL, "503 5.5.1 Please authenticate first", REFUSED, ACCOUNT),
    (
        Step.RCPT,
        "503 This mail server requires authentication when attempting to send to a non-local e-mail address.",
        REFUSED,
        ACCOUNT,
    ),
    (Step.RCPT, "550 5.7.1 Client was not authenticated", REFUSED, ACCOUNT),
    (Step.CONTENT, "550 5.7.26 Sender must authenticate with SPF or DKIM", REFUSED, MESSAGE),
    (Step.CONTENT, "550 5.7.1 DMARC authentication required by policy", REFUSED, MESSAGE),
    # too fast
    (
        Step.DATA,
        "550 5.7.0 Requested action not taken: too many emails per second",
        DEFERRED,
        TRANSPORT,
    ),
    (Step.CONTENT, "454 Throttling failure: Maximum sending rate exceeded.", DEFERRED, TRANSPORT),
    (Step.RCPT, "450 4.7.1 Error: too much mail from 192.0.2.1", DEFERRED, TRANSPORT),
    (Step.RCPT, "450 4.2.1 The user is receiving mail at a rate limit", DEFERRED, RECIPIENT),
    (Step.RCPT, "452 4.5.3 Error: too many recipients", DEFERRED, RECIPIENT),
    # the sender, judged at RCPT
    (
        Step.RCPT,
        "553 5.7.1 <x@a.org>: Sender address rejected: not owned by user me",
        REFUSED,
        MESSAGE,
    ),
    (
        Step.RCPT,
        "450 4.1.8 <x@a.org>: Sender address rejected: Domain not found",
        DEFERRED,
        MESSAGE,
    ),
    (Step.RCPT, "450 Sender verification pending", DEFERRED, MESSAGE),
    (Step.RCPT, "550 5.1.8 Sender denied", REFUSED, MESSAGE),
    (Step.RCPT, "550 Sender verify failed", REFUSED, MESSAGE),
    # the recipient
    (
        Step.RCPT,
        "550 5.1.1 <y@b.org>: Recipient address rejected: User unknown",
        REFUSED,
        RECIPIENT,
    ),
    (Step.RCPT, "554 5.7.1 <y@b.org>: Relay access denied", REFUSED, RECIPIENT),
    (Step.RCPT, "450 4.2.0 <y@b.org>: Recipient address rejected: Greylisted", DEFERRED, RECIPIENT),
    (Step.RCPT, "552 5.2.2 Quota exceeded", REFUSED, RECIPIENT),
    # commands that were sent ahead
    (Step.MAIL, "554 5.5.0 Error: SMTP command pipelining", DEFERRED, TRANSPORT),
    (Step.RCPT, "554 SMTP synchronization error", DEFERRED, TRANSPORT),
    # this machine
    (
        Step.RCPT,
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.example",
        REFUSED,
        TRANSPORT,
    ),
    (Step.MAIL, "451 4.7.1 Your IP has a poor reputation", DEFERRED, TRANSPORT),
    (Step.CONTENT, "554 5.7.1 A link in it is on a blacklist", REFUSED, MESSAGE),
]


def split(said: str) -> tuple[int, str, str]:
    code, enhanced, text = re.findall(r"(\d+) (?:([45]\.\d\.\d+) )?(.*)", said)[0]
    return int(code), enhanced, text


@pytest.mark.parametrize(
    ("step", "said", "kind", "scope"), SAID, ids=[said for _, said, *_ in SAID]
)
def test_what_servers_say_is_understood(step: Step, said: str, kind: Kind, scope: Scope) -> None:
    found = outcome(step, *split(said))
    assert (found.kind, found.scope) == (kind, scope)


def test_each_row_decides_about_something() -> None:
    replies = [(step, code, enhanced, "text") for step, code, enhanced, *_ in CASES]
    replies += [(step, *split(said)) for step, said, *_ in SAID]
    assert {fitting(*reply) for reply in replies} == set(TABLE)


def test_only_what_follows_the_final_dot_is_after_it() -> None:
    phases = {step: outcome(step, 451, "", "").phase for step in Step}
    assert {step for step, phase in phases.items() if phase is Phase.AFTER} == {Step.CONTENT}


def test_a_2xx_to_the_content_is_acceptance() -> None:
    found = outcome(Step.CONTENT, 250, "2.0.0", "Ok")
    assert (found.kind, found.phase, found.code) == (Kind.ACCEPTED, Phase.AFTER, 250)


@given(
    st.sampled_from(Step),
    st.integers(400, 599),
    st.sampled_from(["", "4.2.0", "5.1.1", "5.7.8", "5.3.4"]),
    st.text(),
)
def test_every_refusal_has_a_meaning_by_its_first_digit(
    step: Step, code: int, enhanced: str, text: str
) -> None:
    found = outcome(step, code, enhanced, text)
    assert found.kind in (DEFERRED, REFUSED)
    if code < 500 and not enhanced.startswith("5"):
        assert found.kind is DEFERRED


@pytest.mark.parametrize(
    ("text", "remote_id"),
    [
        ("Ok: queued as 4Zx1Bc2dEf", "4Zx1Bc2dEf"),
        ("OK id=1rTabc-0002Fg-1A", "1rTabc-0002Fg-1A"),
        ("Ok 0102018f3c-000000", "0102018f3c-000000"),
        ("Ok", ""),
        ("Message accepted for delivery", ""),
    ],
)
def test_the_other_sides_id_is_found(text: str, remote_id: str) -> None:
    assert outcome(Step.CONTENT, 250, "2.0.0", text).remote_id == remote_id


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Greylisted for 300 seconds (see http://example.org)", 300),
        ("Recipient address rejected: Greylisted for 5 minutes", 300),
        ("Greylisting enabled, try again in 1 minutes", 60),
        ("Greylisting in action, please come back in 00:09:00", 540),
        ("Hotkey Greylisting in progress ... Please try again after 2 minutes", 120),
        ("too many messages, retry in 90s", 90),
        ("Try again in 2h", 7_200),
        ("wait 999999 hours", 86_400),
        ("Greylisting in action, please come back later", None),
        ("try again, at most 5 messages at once", None),
        ("Mailbox busy", None),
    ],
)
def test_the_wait_a_server_asks_for_is_understood(text: str, seconds: float | None) -> None:
    assert retry_after(text) == seconds


def test_only_what_may_heal_has_a_wait() -> None:
    assert outcome(Step.RCPT, 450, "", "try again in 5 minutes").retry_after == 300
    assert outcome(Step.RCPT, 550, "", "try again in 5 minutes").retry_after is None


@given(st.text())
def test_the_text_is_one_line_of_bounded_length(text: str) -> None:
    shown = outcome(Step.RCPT, 550, "", text * 100).text
    assert len(shown) <= 500
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in shown)
