"""Letters over SMTP to a server that says what it is told to."""

from __future__ import annotations

import asyncio

import pytest

from flask_outbox.errors import AddressError
from flask_outbox.mail.dkim import signing_composer
from flask_outbox.mail.letter import Part
from flask_outbox.mail.mime import composed
from flask_outbox.rules.outcomes import Kind, Phase, Report, Scope
from flask_outbox.transports.smtp import SmtpSettings, SmtpTransport
from mail.signing import ed25519_key
from servers.scripted import CAPABILITIES, Gate, ScriptedServer

from .sending import Cleared, deliver, facts, letter, letters, only, road_to, send

ENVELOPE = ["MAIL", "RCPT", "DATA"]


def test_a_letter_arrives_and_the_servers_id_is_known() -> None:
    with ScriptedServer() as server:
        (report,) = deliver(server.port, letter(raw=b"Subject: x\r\n\r\n.dot\r\n..\r\nend"))
    (message,) = server.messages
    assert message.sender == "me@example.org"
    assert message.recipients == ["you@example.net"]
    assert message.content == b"Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n"
    outcome = only(report)
    assert (outcome.kind, outcome.code, outcome.remote_id) == (Kind.ACCEPTED, 250, "00001")


def test_the_connection_is_greeted_by_name_and_left_politely() -> None:
    with ScriptedServer() as server:
        deliver(server.port, letter(), local_hostname="app.example.org")
    (session,) = server.sessions
    assert session.commands[0] == "EHLO app.example.org"
    assert session.commands[-1] == "QUIT"


def test_only_the_open_recipients_are_reached() -> None:
    async def main(port: int) -> Report:
        async with road_to(port) as road:
            both = letter(to=("a@example.net", "b@example.net"))
            return await road.deliver(both, ("b@example.net",), Cleared())

    with ScriptedServer() as server:
        report = asyncio.run(main(server.port))
    assert server.messages[0].recipients == ["b@example.net"]
    assert list(report.outcomes) == ["b@example.net"]


def test_the_null_sender_is_the_null_path() -> None:
    with ScriptedServer() as server:
        deliver(server.port, letter(envelope_from=""))
    assert "MAIL FROM:<> SIZE=20" in server.sessions[0].commands


# -- round trips -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 10])
def test_a_message_costs_one_round_trip_and_the_first_one_more(count: int) -> None:
    with ScriptedServer() as server:
        reports = deliver(server.port, *letters(count))
    assert all(report.all_accepted for report in reports)
    between = ["CONTENT", *ENVELOPE]
    assert server.sessions[0].letter_trips == [ENVELOPE, *[between] * (count - 1), ["CONTENT"]]


@pytest.mark.parametrize("recipients", [1, 2, 50])
def test_recipients_cost_no_round_trips(recipients: int) -> None:
    to = [f"{n}@example.net" for n in range(recipients)]
    with ScriptedServer() as server:
        reports = deliver(server.port, *letters(5, to))
    assert len(server.sessions[0].letter_trips) == 6
    assert [message.recipients for message in server.messages] == [to] * 5
    assert [list(report.outcomes) for report in reports] == [to] * 5


def test_refused_recipients_cost_no_round_trips() -> None:
    to = [f"{n}@example.net" for n in range(50)]
    refusals = ["550 5.1.1 Nobody" if n % 7 == 0 else None for n in range(50)] * 5
    with ScriptedServer(script={"RCPT": refusals}) as server:
        reports = deliver(server.port, *letters(5, to))
    assert len(server.sessions[0].letter_trips) == 6
    for report in reports:
        kinds = [outcome.kind for outcome in report.outcomes.values()]
        assert kinds == [Kind.REFUSED if n % 7 == 0 else Kind.ACCEPTED for n in range(50)]


def test_letters_that_nobody_may_get_cost_no_more() -> None:
    with ScriptedServer(
        script={"RCPT": [None, "550 5.1.1 Nobody", "450 4.2.1 Busy", None]}
    ) as server:
        reports = deliver(server.port, *letters(4))
    assert [only(report).kind for report in reports] == [
        Kind.ACCEPTED,
        Kind.REFUSED,
        Kind.DEFERRED,
        Kind.ACCEPTED,
    ]
    assert server.sessions[0].letter_trips == [
        ENVELOPE,
        ["CONTENT", *ENVELOPE],
        ["RSET", *ENVELOPE],
        ["RSET", *ENVELOPE],
        ["CONTENT"],
    ]


def test_a_letter_that_comes_while_a_content_is_under_way_is_sent_behind_it() -> None:
    gate = Gate()

    async def main(port: int) -> None:
        async with road_to(port) as road:
            first = asyncio.create_task(send(road, letter(1)))
            await gate.reached()
            clearance = Cleared()
            second = asyncio.create_task(send(road, letter(2), clearance))
            await asyncio.sleep(0)
            assert clearance.asked == ["valid"]
            gate.open()
            assert (await first).all_accepted
            assert (await second).all_accepted

    with ScriptedServer(script={"CONTENT": [(gate, "250 2.0.0 Ok"), None]}) as server:
        asyncio.run(main(server.port))
    assert len(server.sessions) == 1


def test_no_content_leaves_before_the_reply_to_the_one_before() -> None:
    gate = Gate()

    async def main(port: int) -> None:
        async with road_to(port) as road:
            clearances = [Cleared(), Cleared()]
            sending = [
                asyncio.create_task(send(road, a_letter, clearance))
                for a_letter, clearance in zip(letters(2), clearances, strict=True)
            ]
            await gate.reached()
            assert clearances[0].asked == ["valid", "content"]
            assert clearances[1].asked == ["valid"]
            gate.open()
            await asyncio.gather(*sending)
            assert clearances[1].asked == ["valid", "content"]

    with ScriptedServer(script={"CONTENT": [(gate, "250 2.0.0 Ok"), None]}) as server:
        asyncio.run(main(server.port))


# -- without pipelining ------------------------------------------------------------------------------------------------


def test_without_pipelining_each_command_waits_for_its_reply() -> None:
    with ScriptedServer(["SIZE"]) as server:
        reports = deliver(server.port, *letters(2, ["a@example.net", "b@example.net"]))
    assert all(report.all_accepted for report in reports)
    steps = [["MAIL"], ["RCPT"], ["RCPT"], ["DATA"], ["CONTENT"]]
    assert server.sessions[0].letter_trips == steps * 2


def test_pipelining_can_be_switched_off() -> None:
    with ScriptedServer() as server:
        deliver(server.port, letter(), pipelining=False)
    assert server.sessions[0].letter_trips == [["MAIL"], ["RCPT"], ["DATA"], ["CONTENT"]]


def test_in_lockstep_a_refused_sender_ends_the_letter() -> None:
    with ScriptedServer(["SIZE"], script={"MAIL": ["550 5.1.8 No", None]}) as server:
        refused, accepted = deliver(server.port, *letters(2))
    assert only(refused).kind is Kind.REFUSED
    assert accepted.all_accepted
    assert server.sessions[0].letter_trips == [["MAIL"], ["MAIL"], ["RCPT"], ["DATA"], ["CONTENT"]]


def test_in_lockstep_no_data_is_asked_for_nobody() -> None:
    with ScriptedServer(["SIZE"], script={"RCPT": ["550 5.1.1 No", None]}) as server:
        refused, accepted = deliver(server.port, *letters(2))
    assert only(refused).kind is Kind.REFUSED
    assert accepted.all_accepted
    assert server.sessions[0].letter_trips[:3] == [["MAIL"], ["RCPT"], ["RSET"]]


def test_a_server_that_knows_only_helo_is_spoken_to() -> None:
    with ScriptedServer(script={"EHLO": "502 5.5.1 What?"}) as server:
        (report,) = deliver(server.port, letter())
    assert report.all_accepted
    assert server.sessions[0].commands[1].startswith("HELO ")


# -- verdicts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "reply", "expected"),
    [
        ("MAIL", "550 5.1.8 Bad sender", (Kind.REFUSED, Scope.MESSAGE, Phase.BEFORE)),
        ("MAIL", "530 5.7.0 Log in", (Kind.REFUSED, Scope.ACCOUNT, Phase.BEFORE)),
        ("MAIL", "451 4.3.0 Trouble", (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)),
        ("MAIL", "552 5.3.4 Too big", (Kind.REFUSED, Scope.MESSAGE, Phase.BEFORE)),
        ("RCPT", "550 5.1.1 Nobody", (Kind.REFUSED, Scope.RECIPIENT, Phase.BEFORE)),
        ("RCPT", "450 4.2.1 Busy", (Kind.DEFERRED, Scope.RECIPIENT, Phase.BEFORE)),
        ("DATA", "554 5.5.1 No", (Kind.REFUSED, Scope.MESSAGE, Phase.BEFORE)),
        ("CONTENT", "554 5.7.1 Spam", (Kind.REFUSED, Scope.MESSAGE, Phase.AFTER)),
        ("CONTENT", "451 4.3.0 Later", (Kind.DEFERRED, Scope.MESSAGE, Phase.AFTER)),
        ("CONTENT", "552 5.3.4 Too big", (Kind.REFUSED, Scope.MESSAGE, Phase.AFTER)),
    ],
)
@pytest.mark.parametrize("capabilities", [CAPABILITIES, ["SIZE"]], ids=["pipelining", "lockstep"])
def test_a_refusal_has_its_outcome_and_the_connection_goes_on(
    capabilities: list[str], step: str, reply: str, expected: tuple[Kind, Scope, Phase]
) -> None:
    with ScriptedServer(capabilities, script={step: [reply, None]}) as server:
        refused, accepted = deliver(server.port, *letters(2))
    assert facts(refused) == expected
    assert accepted.all_accepted
    assert len(server.sessions) == 1


def test_each_recipient_has_an_outcome_of_its_own() -> None:
    to = ["a@example.net", "b@example.net", "c@example.net"]
    script = {"RCPT": [None, "550 5.1.1 Nobody", "450 4.7.1 Greylisted, try again in 5 minutes"]}
    with ScriptedServer(script=script) as server:
        (report,) = deliver(server.port, letter(to=to))
    assert list(report.outcomes) == to
    accepted, refused, deferred = report.outcomes.values()
    assert (accepted.kind, accepted.phase) == (Kind.ACCEPTED, Phase.AFTER)
    assert (refused.kind, refused.code, refused.enhanced) == (Kind.REFUSED, 550, "5.1.1")
    assert (deferred.kind, deferred.retry_after) == (Kind.DEFERRED, 300)
    assert server.messages[0].recipients == ["a@example.net"]


def test_where_the_content_is_refused_earlier_refusals_stay() -> None:
    script = {"RCPT": ["550 5.1.1 Nobody", None], "CONTENT": "554 5.7.1 Spam"}
    with ScriptedServer(script=script) as server:
        (report,) = deliver(server.port, letter(to=["a@example.net", "b@example.net"]))
    assert [o.scope for o in report.outcomes.values()] == [Scope.RECIPIENT, Scope.MESSAGE]


def test_354_for_nobody_is_answered_by_the_lone_dot() -> None:
    script = {"RCPT": ["550 5.1.1 Nobody", None], "DATA": "354 Go on"}
    with ScriptedServer(script=script) as server:
        refused, accepted = deliver(server.port, *letters(2))
    assert only(refused).code == 550
    assert accepted.all_accepted
    assert server.contents == [b"", b"Subject: 2\r\n\r\nBody\r\n"]
    assert server.sessions[0].letter_trips == [ENVELOPE, ["CONTENT", *ENVELOPE], ["CONTENT"]]


def test_nobody_is_asked_about_the_lone_dot() -> None:
    clearance = Cleared()

    async def main(port: int) -> None:
        async with road_to(port) as road:
            await send(road, letter(), clearance)

    with ScriptedServer(script={"RCPT": "550 No", "DATA": "354 Go on"}) as server:
        asyncio.run(main(server.port))
    assert clearance.asked == ["valid"]


# -- what the server cannot take ---------------------------------------------------------------------------------------


def test_a_letter_over_the_announced_size_is_not_begun() -> None:
    with ScriptedServer(["PIPELINING", "SIZE 19"]) as server:
        (report,) = deliver(server.port, letter())
    outcome = only(report)
    assert (outcome.kind, outcome.scope, outcome.enhanced) == (Kind.REFUSED, Scope.MESSAGE, "5.3.4")
    assert server.sessions[0].commands[1:] == ["QUIT"]


def test_the_dots_that_smtp_adds_do_not_count() -> None:
    with ScriptedServer(["PIPELINING", "SIZE 11"]) as server:
        (report,) = deliver(server.port, letter(raw=b"\r\n.\r\n.\r\n.\r\n"))
    assert report.all_accepted
    assert "MAIL FROM:<me@example.org> SIZE=11" in server.sessions[0].commands


def test_a_size_of_nought_is_no_limit() -> None:
    with ScriptedServer(["PIPELINING", "SIZE 0"]) as server:
        (report,) = deliver(server.port, letter())
    assert report.all_accepted


def test_smtputf8_is_asked_for_where_it_is_needed() -> None:
    with ScriptedServer() as server:
        (report,) = deliver(server.port, letter(to=["jürgen@example.net"]))
    assert report.all_accepted
    assert "MAIL FROM:<me@example.org> SIZE=20 SMTPUTF8" in server.sessions[0].commands
    assert "RCPT TO:<jürgen@example.net>" in server.sessions[0].commands


def test_without_smtputf8_only_who_needs_it_is_refused() -> None:
    with ScriptedServer(["PIPELINING"]) as server:
        (report,) = deliver(server.port, letter(to=["jürgen@example.net", "you@example.net"]))
    refused, accepted = report.outcomes.values()
    assert (refused.kind, refused.scope, refused.enhanced) == (
        Kind.REFUSED,
        Scope.RECIPIENT,
        "5.6.7",
    )
    assert accepted.accepted
    assert server.messages[0].recipients == ["you@example.net"]


def test_without_smtputf8_a_message_that_needs_it_is_refused() -> None:
    with ScriptedServer(["PIPELINING"]) as server:
        (report,) = deliver(server.port, letter(raw="Subject: ü\r\n\r\nx\r\n".encode()))
    assert facts(report) == (Kind.REFUSED, Scope.MESSAGE, Phase.BEFORE)
    assert server.messages == []


def test_eight_bits_are_announced_where_the_server_knows_them() -> None:
    eight = letter(raw=b"Subject: x\r\n\r\n\xfc\r\n")
    with ScriptedServer(["PIPELINING", "8BITMIME"]) as server:
        deliver(server.port, eight)
    assert "MAIL FROM:<me@example.org> BODY=8BITMIME" in server.sessions[0].commands


def test_eight_bits_are_not_for_a_server_that_takes_seven() -> None:
    with ScriptedServer(["PIPELINING"]) as server:
        (report,) = deliver(server.port, letter(raw=b"Subject: x\r\n\r\n\xfc\r\n"))
    assert facts(report) == (Kind.REFUSED, Scope.MESSAGE, Phase.BEFORE)
    assert only(report).enhanced == "5.6.3"
    assert server.messages == []


def test_options_that_the_server_does_not_know_are_left_out_and_named() -> None:
    options = {"mail_options": ("RET=HDRS",), "rcpt_options": ("NOTIFY=NEVER",)}
    with ScriptedServer() as server:
        (report,) = deliver(server.port, letter(**options))
    assert only(report).accepted
    assert only(report).left_out == ("RET=HDRS", "NOTIFY=NEVER")
    assert "left out, the server takes none: RET=HDRS NOTIFY=NEVER" in only(report).text
    with ScriptedServer([*CAPABILITIES, "DSN"]) as server:
        (report,) = deliver(server.port, letter(**options))
    assert only(report).left_out == ()
    assert "RCPT TO:<you@example.net> NOTIFY=NEVER" in server.sessions[0].commands


def test_an_address_that_would_end_a_command_is_the_callers_error() -> None:
    with ScriptedServer() as server, pytest.raises(AddressError):
        deliver(server.port, letter(to=["you@example.net> X=1"]))
    assert server.sessions == []


def test_the_composer_handed_in_makes_the_same_bytes_at_each_try() -> None:
    compose_signed = signing_composer(ed25519_key().signer)

    async def main(port: int) -> None:
        settings = SmtpSettings("127.0.0.1", port, tls="never")
        for _ in range(2):
            road = SmtpTransport(settings, compose=compose_signed)
            await send(road, letter())
            await road.aclose()

    with ScriptedServer() as server:
        asyncio.run(main(server.port))
    first, second = (message.content for message in server.messages)
    assert first == second == compose_signed(letter())


@pytest.mark.parametrize("signed", [False, True])
def test_a_large_letter_arrives_as_it_was_composed(signed: bool) -> None:
    """Its lines that begin with a dot among it, and its size is announced."""
    attached = Part("a.bin", "application/octet-stream", b"0123456789abcdef" * 20_000)
    large = letter(raw=None, text=".\n..words\n" * 50_000, attachments=(attached,))
    compose = signing_composer(ed25519_key().signer) if signed else composed

    async def main(port: int) -> None:
        settings = SmtpSettings("127.0.0.1", port, tls="never")
        road = SmtpTransport(settings, compose=compose)
        assert (await send(road, large)).all_accepted
        await road.aclose()

    with ScriptedServer([*CAPABILITIES, "SIZE 10000000"]) as server:
        asyncio.run(main(server.port))
    content = bytes(compose(large))
    assert server.messages[0].content == content
    assert f"MAIL FROM:<me@example.org> SIZE={len(content)}" in server.sessions[0].commands


def test_what_a_composer_gives_whole_is_mended_however_large_it_is() -> None:
    content = b"Subject: x\r\n\r\n" + b".words\n" * 20_000

    async def main(port: int) -> None:
        settings = SmtpSettings("127.0.0.1", port, tls="never")
        road = SmtpTransport(settings, compose=lambda _: content)
        assert (await send(road, letter())).all_accepted
        await road.aclose()

    with ScriptedServer() as server:
        asyncio.run(main(server.port))
    assert server.messages[0].content == content.replace(b"words\n", b"words\r\n")
