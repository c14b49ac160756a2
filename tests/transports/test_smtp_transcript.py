"""What was said of a letter that failed, as a person may read it."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.rules.outcomes import Kind, Outcome
from flask_outbox.transports.smtp_protocol import Reply
from flask_outbox.transports.smtp_states import Command
from flask_outbox.transports.smtp_transcript import Note, Opening, written
from servers.process import free_port
from servers.scripted import DROP, ScriptedServer

from .sending import deliver, letter, letters, road_to, send

SECRET = "s3cret"
GONE = "550 5.1.1 Nobody"
LOST = Outcome(Kind.DEFERRED, text="connection lost")


def lines(transcript: str) -> list[str]:
    """Without the times, which no test can know."""
    found = [re.fullmatch(r" *\d+\.\d{3} (.*)|( +… .*)", line) for line in transcript.split("\n")]
    assert all(found), transcript
    return [one[1] or one[2].strip() for one in found if one]


# -- by a server -------------------------------------------------------------------------------------------------


def test_it_begins_with_the_opening_and_holds_the_letters_own_commands_and_replies() -> None:
    with ScriptedServer(["PIPELINING"], script={"RCPT": GONE}) as server:
        (report,) = deliver(server.port, letter(), local_hostname="me.example.org")
    assert lines(report.transcript) == [
        f"* connecting to 127.0.0.1:{server.port}",
        f"* connected to 127.0.0.1 port {server.port}",
        "S: 220 scripted.example ESMTP",
        "C: EHLO me.example.org",
        "S: 250-scripted.example",
        "S: 250 PIPELINING",
        "C: MAIL FROM:<me@example.org>",
        "C: RCPT TO:<you@example.net>",
        "C: DATA",
        "S: 250 2.1.0 Sender ok",
        "S: 550 5.1.1 Nobody",
        "S: 554 5.5.1 No valid recipients",
    ]


def test_over_a_connection_that_was_open_it_says_so_and_holds_nothing_of_the_letters_around() -> (
    None
):
    script = {"CONTENT": [None, "554 5.6.0 No", None]}
    with ScriptedServer(script=script) as server:
        reports = deliver(server.port, *letters(3))
    assert [bool(report.transcript) for report in reports] == [False, True, False]
    assert lines(reports[1].transcript) == [
        f"* over a connection to 127.0.0.1:{server.port} that was open already",
        "C: MAIL FROM:<me@example.org> SIZE=20",
        "C: RCPT TO:<you@example.net>",
        "C: DATA",
        "S: 250 2.1.0 Sender ok",
        "S: 250 2.1.5 Recipient ok",
        "S: 354 Go on",
        "C: <20 bytes>",
        "S: 554 5.6.0 No",
    ]


def test_in_lockstep_each_command_stands_before_its_reply() -> None:
    with ScriptedServer(["HELP"], script={"DATA": "451 Later"}) as server:
        (report,) = deliver(server.port, letter())
    assert lines(report.transcript)[-6:] == [
        "C: MAIL FROM:<me@example.org>",
        "S: 250 2.1.0 Sender ok",
        "C: RCPT TO:<you@example.net>",
        "S: 250 2.1.5 Recipient ok",
        "C: DATA",
        "S: 451 Later",
    ]


def test_a_plain_success_has_none() -> None:
    with ScriptedServer() as server:
        (report,) = deliver(server.port, letter())
    assert (report.all_accepted, report.transcript) == (True, "")


def test_one_refused_among_accepted_ones_has_one() -> None:
    to = ["a@example.net", "b@example.net"]
    with ScriptedServer(script={"RCPT": [GONE, None]}) as server:
        (report,) = deliver(server.port, letter(to=to))
    assert "C: <20 bytes>" in lines(report.transcript)


def test_a_lost_connection_stands_at_the_end() -> None:
    with ScriptedServer(script={"CONTENT": DROP}) as server:
        (report,) = deliver(server.port, letter())
    *_, content, end = lines(report.transcript)
    assert content == "C: <20 bytes>"
    assert end.startswith("* the content was sent, its reply never came: connection lost")


@pytest.mark.parametrize("count", [1, 3])
def test_a_server_that_is_not_there_is_told_to_every_letter_that_waited(count: int) -> None:
    port = free_port()
    for report in deliver(port, *letters(count)):
        assert lines(report.transcript) == [
            f"* connecting to 127.0.0.1:{port}",
            f"* 127.0.0.1:{port}: Connection refused",
        ]


def test_a_second_chance_tells_of_both_connections() -> None:
    async def main(port: int) -> str:
        async with road_to(port) as road:
            await send(road, letter(1))
            return (await send(road, letter(2))).transcript

    with ScriptedServer(script={"MAIL": [None, DROP, "550 5.7.1 No"]}) as server:
        found = lines(asyncio.run(main(server.port)))
    assert found[0] == f"* over a connection to 127.0.0.1:{server.port} that was open already"
    assert "* connection lost: the server closed it" in found
    assert f"* connected to 127.0.0.1 port {server.port}" in found
    assert "S: 550 5.7.1 No" in found


def test_what_cannot_be_sent_there_is_told_without_a_command() -> None:
    with ScriptedServer(["SIZE 10"]) as server:
        (report,) = deliver(server.port, letter())
    assert lines(report.transcript)[-2:] == [
        "S: 250 SIZE 10",
        "* 5.3.4 the letter has 20 bytes, the server takes 10",
    ]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("password", [SECRET, "other"])
def test_no_login_is_in_it(mechanism: str, password: str) -> None:
    said = {"PLAIN": f"\0me\0{SECRET}", "LOGIN": SECRET}[mechanism]
    quoting = f"501 What is {b64encode(said.encode()).decode()}"
    step = {"AUTH": quoting} if mechanism == "PLAIN" else {"RESPONSE": [None, quoting]}
    script = {"MAIL": GONE} if password == SECRET else step
    with ScriptedServer(["PIPELINING"], accounts={"me": password}, script=script) as server:
        login = {"username": "me", "password": SECRET, "auth_mechanisms": (mechanism,)}
        (report,) = deliver(server.port, letter(), **login)
    assert f"C: AUTH {mechanism}" in report.transcript
    for text in (SECRET, f"\0me\0{SECRET}", "me"):
        assert b64encode(text.encode()).decode() not in report.transcript
    assert SECRET not in report.transcript


def test_why_a_login_failed_stands_at_the_end() -> None:
    with ScriptedServer(["AUTH PLAIN"], accounts={"me": "other"}) as server:
        (report,) = deliver(server.port, letter(), username="me", password=SECRET)
    assert lines(report.transcript)[-3:] == [
        "C: AUTH PLAIN ***",
        "S: 535 ***",
        "* 535 5.7.8 Wrong name or password",
    ]


def test_no_content_is_in_it() -> None:
    secret = letter(raw=b"Subject: x\r\n\r\nThe code is 123456\r\n")
    with ScriptedServer(script={"CONTENT": "554 No"}) as server:
        (report,) = deliver(server.port, secret)
    assert "C: <34 bytes>" in lines(report.transcript)
    assert "123456" not in report.transcript


# -- in words ------------------------------------------------------------------------------------------------------


def reply(*said: bytes, code: int = 250, command: Command = Command.MAIL) -> Reply:
    return Reply(command, code, said)


def test_the_seconds_count_from_the_beginning_of_the_connection() -> None:
    opening = Opening(100.0, "mx.example.org:25")
    opening.remark(100.25, "connected to 192.0.2.1 port 25")
    notes: list[Note] = [(101.0, opening.lines), (101.0, b"DATA\r\n"), (102.5, reply(b"Later"))]
    assert written(notes, LOST).split("\n") == [
        "   0.000 * connecting to mx.example.org:25",
        "   0.250 * connected to 192.0.2.1 port 25",
        "   1.000 C: DATA",
        "   2.500 S: 250 Later",
        "   2.500 * connection lost",
    ]


def test_a_content_is_a_number_of_bytes() -> None:
    assert "C: <1,234,567 bytes>" in written([(0.0, 1_234_567)], LOST)


def test_a_line_of_it_is_bounded() -> None:
    text = written([(0.0, reply(b"x" * 4_000))], LOST)
    assert max(map(len, text.split("\n"))) < 220


def test_the_whole_is_bounded_and_the_middle_left_out() -> None:
    notes: list[Note] = [(0.0, reply(b"%d " % number + b"x" * 90)) for number in range(1_000)]
    found = written(notes, LOST)
    assert len(found) <= 8_000
    first, *others = lines(found)
    assert first.startswith("S: 250 0 x")
    assert others[-1] == "* connection lost"
    [gap] = [line for line in others if line.startswith("…")]
    left_out = re.fullmatch(r"… (\d+) lines …", gap)
    assert left_out
    assert int(left_out[1]) == 1_001 - len(others)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20))
def test_whatever_a_server_says_it_is_printable_lines(said: list[bytes]) -> None:
    found = written([(0.0, reply(*said))], LOST)
    assert len(lines(found)) == len(said) + 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", found)


def test_nothing_said_is_the_outcome_alone() -> None:
    assert lines(written([], LOST)) == ["* connection lost"]
