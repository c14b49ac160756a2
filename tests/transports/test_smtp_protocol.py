"""SMTP without a socket: what bytes come out, what replies mean, what is an error."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.errors import AddressError, BadHeaderError
from flask_outbox.transports.smtp_protocol import (
    LONE_DOT,
    Envelope,
    ProtocolError,
    SmtpProtocol,
    mend,
    stuffed,
)
from flask_outbox.transports.smtp_sasl import Credentials, External, Login, Plain
from flask_outbox.transports.smtp_states import STEPS, Command, State

from .conversing import ENVELOPE, GREETING, hear, opened

# -- opening -----------------------------------------------------------------------------------------------------------


def test_the_greeting_comes_unasked() -> None:
    protocol = SmtpProtocol()
    assert hear(protocol, GREETING) == [("GREETING", 220)]
    assert protocol.state is State.GREETED


def test_a_greeting_may_refuse() -> None:
    protocol = SmtpProtocol()
    assert hear(protocol, b"554 5.7.1 No service for you\r\n") == [("GREETING", 554)]
    assert protocol.state is State.CLOSED


def test_ehlo_tells_what_the_server_can() -> None:
    protocol = opened("PIPELINING", "size 1000", "AUTH PLAIN LOGIN", "STARTTLS")
    assert protocol.capabilities == {
        "PIPELINING": "",
        "SIZE": "1000",
        "AUTH": "PLAIN LOGIN",
        "STARTTLS": "",
    }


def test_the_auth_line_of_old_servers_counts() -> None:
    assert opened("AUTH=LOGIN", "AUTH PLAIN").capabilities["AUTH"] == "LOGIN PLAIN"


def test_after_a_refused_ehlo_comes_helo() -> None:
    protocol = SmtpProtocol()
    hear(protocol, GREETING)
    protocol.send(Command.EHLO, "client.example")
    hear(protocol, b"502 5.5.1 What?\r\n")
    assert protocol.send(Command.HELO, "client.example") == b"HELO client.example\r\n"
    hear(protocol, b"250 mail.example\r\n")
    assert protocol.state is State.READY
    assert not protocol.pipelining


# -- the envelope ------------------------------------------------------------------------------------------------------


def test_the_envelope_is_one_group() -> None:
    assert opened("PIPELINING").envelope(ENVELOPE) == (
        b"MAIL FROM:<me@example.org>\r\n"
        b"RCPT TO:<a@example.net>\r\n"
        b"RCPT TO:<b@example.net>\r\n"
        b"DATA\r\n"
    )


def test_mail_has_the_parameters_that_were_announced() -> None:
    envelope = Envelope("", ("ü@example.net",), size=7, eight_bit=True, utf8=True)
    assert (
        opened("SIZE", "8BITMIME", "SMTPUTF8").mail(envelope)
        == b"MAIL FROM:<> SIZE=7 BODY=8BITMIME SMTPUTF8\r\n"
    )
    plain = Envelope("", ("a@example.net",), size=7, eight_bit=True)
    assert opened("HELP").mail(plain) == b"MAIL FROM:<>\r\n"


def test_options_of_the_message_are_added_where_we_say_nothing_ourselves() -> None:
    envelope = Envelope("", ("a@example.net",), size=7, mail_options=("size=9", "S", "X=1"))
    assert opened("SIZE").mail(envelope) == b"MAIL FROM:<> SIZE=7 S X=1\r\n"


def test_dsn_options_are_for_servers_with_dsn() -> None:
    envelope = Envelope(
        "", ("a@example.net",), size=7, mail_options=("RET=HDRS",), rcpt_options=("NOTIFY=NEVER",)
    )
    group = b"MAIL FROM:<> RET=HDRS\r\nRCPT TO:<a@example.net> NOTIFY=NEVER\r\nDATA\r\n"
    assert opened("PIPELINING", "DSN").envelope(envelope) == group
    without = b"MAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\nDATA\r\n"
    assert opened("PIPELINING").envelope(envelope) == without


def test_options_that_nobody_announced_are_left_out_and_named() -> None:
    envelope = Envelope(
        "",
        ("a@example.net",),
        size=7,
        mail_options=("RET=HDRS", "SMTPUTF8", "body=8BITMIME", "X=1"),
        rcpt_options=("notify=never",),
    )
    protocol = opened("SIZE", "SMTPUTF8")
    assert protocol.left_out(envelope) == ["RET=HDRS", "body=8BITMIME", "notify=never"]
    assert protocol.mail(envelope) == b"MAIL FROM:<> SIZE=7 SMTPUTF8 X=1\r\n"


def test_replies_are_matched_to_commands_in_their_order() -> None:
    protocol = opened("PIPELINING")
    protocol.envelope(ENVELOPE)
    assert hear(protocol, b"250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n") == [
        ("MAIL", 250),
        ("RCPT", 550),
        ("RCPT", 250),
        ("DATA", 354),
    ]
    assert protocol.state is State.DATA


def test_the_next_envelope_may_follow_the_content() -> None:
    protocol = opened("PIPELINING")
    protocol.envelope(ENVELOPE)
    hear(protocol, b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    protocol.content(b"")
    protocol.envelope(ENVELOPE)
    verdicts = hear(protocol, b"250 queued\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    assert [name for name, _ in verdicts] == ["CONTENT", "MAIL", "RCPT", "RCPT", "DATA"]


def test_a_refused_sender_refuses_all_that_was_sent_ahead() -> None:
    protocol = opened("PIPELINING")
    protocol.envelope(ENVELOPE)
    hear(protocol, b"550 no\r\n503 no\r\n503 no\r\n503 no\r\n")
    assert protocol.state is State.READY
    assert protocol.envelope(ENVELOPE).startswith(b"MAIL")


def test_in_the_place_of_commands_that_were_lost_nothing_can_be_said() -> None:
    """A proxy that drops what it read behind MAIL: to guess which were lost could send a content to fewer people."""
    protocol = opened("PIPELINING")
    protocol.envelope(ENVELOPE)
    assert hear(protocol, b"250 ok\r\n") == [("MAIL", 250)]
    assert not any(protocol.may(command) for command in Command)
    with pytest.raises(RuntimeError, match="the content without the reply to DATA"):
        protocol.content(b"")


def test_a_lost_command_shows_by_the_reply_to_data() -> None:
    protocol = opened("PIPELINING")
    protocol.envelope(ENVELOPE)
    with pytest.raises(ProtocolError, match="does not fit RCPT: 354"):
        hear(protocol, b"250 ok\r\n250 ok\r\n354 go\r\n")


def test_a_transaction_that_came_to_nothing_is_reset_in_the_next_group() -> None:
    protocol = opened("PIPELINING")
    protocol.envelope(ENVELOPE)
    hear(protocol, b"250 ok\r\n550 no\r\n550 no\r\n554 no\r\n")
    assert protocol.envelope(ENVELOPE).startswith(b"RSET\r\nMAIL FROM")


def test_354_for_nobody_is_answered_by_the_lone_dot() -> None:
    protocol = opened("PIPELINING")
    protocol.envelope(ENVELOPE)
    hear(protocol, b"250 ok\r\n550 no\r\n550 no\r\n354 go\r\n")
    assert b"".join(protocol.content(b"")) == b".\r\n"
    hear(protocol, b"554 5.5.1 nobody\r\n")
    assert protocol.state is State.READY


def test_354_after_a_refused_sender_is_an_error() -> None:
    protocol = opened("PIPELINING")
    protocol.envelope(ENVELOPE)
    with pytest.raises(ProtocolError, match="does not fit DATA: 354"):
        hear(protocol, b"550 no\r\n550 no\r\n550 no\r\n354 go\r\n")


# -- what may not be sent ----------------------------------------------------------------------------------------------


def test_nothing_goes_ahead_without_pipelining() -> None:
    protocol = opened("SIZE")
    protocol.mail(ENVELOPE)
    with pytest.raises(RuntimeError, match="RCPT ahead of a reply, without PIPELINING"):
        protocol.rcpt(ENVELOPE, "a@example.net")


def test_nothing_goes_ahead_of_the_reply_to_a_login() -> None:
    protocol = opened("PIPELINING", "AUTH LOGIN")
    protocol.auth("LOGIN", Login(Credentials("me", "secret")))
    with pytest.raises(RuntimeError):
        protocol.send(Command.QUIT)


def test_the_content_waits_for_354() -> None:
    protocol = opened("PIPELINING")
    protocol.envelope(ENVELOPE)
    with pytest.raises(RuntimeError):
        protocol.content(b"")


def test_a_second_content_waits_for_the_reply_to_the_first() -> None:
    protocol = opened("PIPELINING")
    protocol.envelope(ENVELOPE)
    hear(protocol, b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    protocol.content(b"")
    protocol.envelope(ENVELOPE)
    with pytest.raises(RuntimeError):
        protocol.content(b"")


def test_a_command_out_of_order_is_a_bug_here() -> None:
    with pytest.raises(RuntimeError, match="RCPT does not fit after READY"):
        opened("SIZE").rcpt(ENVELOPE, "a@example.net")
    with pytest.raises(RuntimeError, match="TLS without STARTTLS"):
        opened("SIZE").secured()


def test_the_table_knows_every_state_and_every_command() -> None:
    assert set(STEPS) == set(State)
    assert {command for steps in STEPS.values() for command in steps} == set(Command)


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\r\nRCPT TO:<x@example.net>", "\t", "\x7f"])
def test_no_parameter_holds_a_line_end_or_a_control(bad: str) -> None:
    with pytest.raises(BadHeaderError):
        Envelope(f"me{bad}@example.org", ("a@example.net",), size=1)
    with pytest.raises(BadHeaderError):
        Envelope("me@example.org", ("a@example.net", f"b@example.net{bad}"), size=1)
    with pytest.raises(BadHeaderError):
        Envelope("", ("a@example.net",), size=1, mail_options=(f"RET=FULL{bad}",))
    with pytest.raises(BadHeaderError):
        Envelope("", ("a@example.net",), size=1, rcpt_options=(f"NOTIFY=NEVER{bad}",))
    with pytest.raises(BadHeaderError):
        SmtpProtocol().send(Command.EHLO, f"client{bad}")


@pytest.mark.parametrize(
    "path", ["a@b> SIZE=1", "a b@example.net", "<a@example.net>", "", '"a@example.net', "a@\ud800"]
)
def test_no_path_ends_early(path: str) -> None:
    with pytest.raises(AddressError):
        Envelope("me@example.org", (path,), size=1, utf8=True)


def test_a_quoted_local_part_may_hold_anything_printable() -> None:
    path = '"a b>\\"c"@example.net'
    protocol = opened("PIPELINING")
    assert b'RCPT TO:<"a b>\\"c"@example.net>\r\n' in protocol.envelope(
        Envelope("", (path,), size=1)
    )


def test_an_address_outside_ascii_needs_smtputf8() -> None:
    with pytest.raises(AddressError):
        Envelope("me@example.org", ("ü@example.net",), size=1)


@given(
    st.text(max_size=20),
    st.lists(st.text(max_size=20), min_size=1, max_size=3),
    st.lists(st.text(max_size=9), max_size=2),
)
def test_whatever_is_in_an_envelope_it_makes_as_many_lines_as_commands(
    sender: str, recipients: list[str], options: list[str]
) -> None:
    try:
        envelope = Envelope(
            sender,
            tuple(recipients),
            size=1,
            utf8=True,
            mail_options=tuple(options),
            rcpt_options=tuple(options),
        )
    except (AddressError, BadHeaderError):
        return
    group = opened("PIPELINING", "SIZE", "DSN").envelope(envelope)
    lines = group.split(b"\r\n")
    assert len(lines) == 1 + len(recipients) + 1 + 1
    assert b"\n" not in b"".join(lines)
    assert b"\r" not in b"".join(lines)


# -- the content -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"a\r\nb\r\n", b"a\r\nb\r\n.\r\n"),
        (b"a\r\nb", b"a\r\nb\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b".a\r\n.\r\n..\r\n", b"..a\r\n..\r\n...\r\n.\r\n"),
        (b"a\n.\nb\r.\r\r\n", b"a\r\n..\r\nb\r\n..\r\n\r\n.\r\n"),
        (b"", b".\r\n"),
    ],
)
def test_dots_are_doubled_and_line_ends_mended(content: bytes, wire: bytes) -> None:
    assert stuffed(mend(content)) + LONE_DOT == wire


@given(st.lists(st.sampled_from([b"a", b".", b"\r", b"\n", b"\r\n", b"\0"]), max_size=20))
def test_a_content_ends_once_and_arrives_as_it_was(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    wire = stuffed(mend(content)) + LONE_DOT
    assert (b"\r\n" + wire).find(b"\r\n.\r\n") == len(wire) - 3
    lines = wire.removesuffix(b".\r\n").split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    arrived = b"\r\n".join(line.removeprefix(b".") for line in lines)
    mended = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    assert arrived in (mended, mended + b"\r\n")


# -- AUTH --------------------------------------------------------------------------------------------------------------


def test_the_first_word_goes_with_the_command() -> None:
    said = opened("AUTH PLAIN").auth("PLAIN", Plain(Credentials("me", "sécret")))
    assert base64.b64decode(said.removeprefix(b"AUTH PLAIN ")).decode() == "\0me\0sécret"


def test_the_first_word_waits_for_a_challenge_where_the_line_would_be_too_long() -> None:
    protocol, plain = opened("AUTH PLAIN"), Plain(Credentials("me", "x" * 400))
    assert protocol.auth("PLAIN", plain) == b"AUTH PLAIN\r\n"
    assert hear(protocol, b"334 \r\n") == [("AUTH", 334)]
    assert base64.b64decode(protocol.respond(plain.respond(""))) == b"\0me\0" + b"x" * 400


def test_an_empty_first_word_is_an_equals_sign() -> None:
    said = opened("AUTH EXTERNAL").auth("EXTERNAL", External(Credentials()))
    assert said == b"AUTH EXTERNAL =\r\n"


def test_answers_follow_challenges_until_the_login_stands() -> None:
    protocol, login = opened("AUTH LOGIN"), Login(Credentials("me", "secret"))
    assert protocol.auth("LOGIN", login) == b"AUTH LOGIN\r\n"
    hear(protocol, b"334 VXNlcm5hbWU6\r\n")
    assert protocol.respond(login.respond("VXNlcm5hbWU6")) == base64.b64encode(b"me") + b"\r\n"
    hear(protocol, b"334 UGFzc3dvcmQ6\r\n")
    assert protocol.respond(b"") == b"\r\n"
    assert hear(protocol, b"235 2.7.0 Welcome\r\n") == [("RESPONSE", 235)]
    assert protocol.state is State.READY


def test_what_was_said_to_log_in_is_remembered_as_secret() -> None:
    protocol = opened("AUTH PLAIN")
    said = protocol.auth("PLAIN", Plain(Credentials("me", "secret")))
    hear(protocol, b"334 \r\n")
    more = protocol.respond(b"more")
    assert [f"AUTH PLAIN {protocol.secrets[0]}", protocol.secrets[1]] == [
        said.decode().rstrip(),
        more.decode().rstrip(),
    ]


def test_no_challenge_follows_giving_up() -> None:
    protocol = opened("AUTH PLAIN")
    protocol.auth("PLAIN", Plain(Credentials("me", "secret")))
    hear(protocol, b"334 and?\r\n")
    assert protocol.send(Command.CANCEL, "*") == b"*\r\n"
    with pytest.raises(ProtocolError):
        hear(protocol, b"334 and?\r\n")


# -- STARTTLS ----------------------------------------------------------------------------------------------------------


def test_tls_begins_the_conversation_anew() -> None:
    protocol = opened("STARTTLS", "AUTH PLAIN")
    protocol.send(Command.STARTTLS)
    hear(protocol, b"220 go\r\n")
    protocol.secured()
    assert protocol.capabilities == {}
    assert protocol.send(Command.EHLO, "client.example").startswith(b"EHLO")


def test_a_refused_starttls_changes_nothing() -> None:
    protocol = opened("STARTTLS", "SIZE")
    protocol.send(Command.STARTTLS)
    hear(protocol, b"454 4.7.0 not now\r\n")
    assert protocol.state is State.READY
    assert "SIZE" in protocol.capabilities


@pytest.mark.parametrize("injected", [b"250 you are me\r\n", b"2", b"\r\n"])
def test_what_is_injected_behind_starttls_is_an_error(injected: bytes) -> None:
    at_once, later = opened("STARTTLS"), opened("STARTTLS")
    at_once.send(Command.STARTTLS)
    with pytest.raises(ProtocolError, match="in the clear after STARTTLS"):
        hear(at_once, b"220 go\r\n" + injected)
    later.send(Command.STARTTLS)
    hear(later, b"220 go\r\n")
    with pytest.raises(ProtocolError, match="in the clear after STARTTLS"):
        hear(later, injected)
