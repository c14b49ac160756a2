"""The demo's SMTP server, spoken to by smtplib: each fault, exactly."""

from __future__ import annotations

import json
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest

from servers.process import wait_until

SERVER = Path(__file__).parents[2] / "examples" / "demo" / "mailserver.py"
ME, YOU, OTHER = "me@example.org", "you@example.org", "other@example.org"


@dataclass(frozen=True)
class Running:
    folder: Path
    port: int
    process: subprocess.Popen[str]

    def faults(self, **faults: object) -> None:
        (self.folder / "faults.json").write_text(json.dumps(faults))

    def received(self) -> list[dict[str, object]]:
        return [json.loads(p.read_text()) for p in sorted(self.folder.glob("received/*.json"))]

    def listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=10).close()
        except ConnectionRefusedError:
            return False
        return True

    def connect(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, local_hostname="test", timeout=10)


def start(folder: Path) -> Running:
    process = subprocess.Popen(
        [sys.executable, str(SERVER), "--dir", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("listening on 127.0.0.1:"), process.communicate()[1]
    return Running(folder, int(line.rpartition(":")[2]), process)


def stop(running: Running) -> str:
    """End the server and give what it complained about."""
    running.process.terminate()
    complaints = running.process.communicate(timeout=10)[1]
    assert running.process.returncode == 0
    return complaints


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    running = start(tmp_path)
    yield running
    assert stop(running) == ""


@pytest.fixture
def client(server: Running) -> Iterator[smtplib.SMTP]:
    with closing(server.connect()) as smtp:
        smtp.ehlo()
        yield smtp


def message(message_id: str = "<1@test>", text: str = "Hello") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Message-ID"] = ME, YOU, message_id
    made.set_content(text)
    return made


def test_it_announces_what_it_can(client: smtplib.SMTP) -> None:
    assert client.esmtp_features == {
        "pipelining": "",
        "size": "26214400",
        "8bitmime": "",
        "smtputf8": "",
        "enhancedstatuscodes": "",
    }


def test_an_accepted_message_is_kept_byte_for_byte(server: Running, client: smtplib.SMTP) -> None:
    content = b"Message-ID: <a@test>\r\n\r\n.a dot\r\n..two\r\n.\r\nlast\r\n"
    assert client.sendmail(ME, [YOU, OTHER], content, ["BODY=8BITMIME", "SIZE=50"]) == {}
    (one,) = server.received()
    assert one.pop("time") == pytest.approx(time.time(), abs=60)
    assert one == {
        "number": 1,
        "client": "127.0.0.1",
        "sender": ME,
        "recipients": [YOU, OTHER],
        "message_id": "<a@test>",
        "size": len(content),
        "answered": True,
    }
    assert (server.folder / "received" / "00000001.eml").read_bytes() == content


def test_the_reply_names_the_number_of_the_message(client: smtplib.SMTP) -> None:
    for number in (1, 2):
        client.mail(ME)
        client.rcpt(YOU)
        assert client.data(b"Hello") == (250, b"2.0.0 Kept as %d" % number)


def test_pipelined_commands_are_answered_in_order(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(
            b"EHLO test\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\n"
            b"one\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<d@e.f>\r\nDATA\r\ntwo\r\n.\r\nQUIT\r\n"
        )
        replies = b"".join(iter(lambda: sock.recv(65536), b"")).decode().splitlines()
    codes = [line[:3] for line in replies if line[3] == " "]
    assert codes == ["220", "250", "250", "250", "354", "250", "250", "250", "354", "250", "221"]
    assert [one["sender"] for one in server.received()] == ["a@b.c", ""]


def test_an_address_may_be_utf_8(server: Running, client: smtplib.SMTP) -> None:
    client.send_message(message(), ME, ["jürgen@example.org"], ["SMTPUTF8"])
    assert server.received()[0]["recipients"] == ["jürgen@example.org"]


@pytest.mark.parametrize(
    ("commands", "reply"),
    [
        (["NOOP"], "250 2.0.0"),
        (["RSET"], "250 2.0.0"),
        (["HELO test"], "250 demo.localhost"),
        (["RCPT TO:<a@b.c>"], "503 5.5.1"),
        (["DATA"], "554 5.5.1"),
        (["MAIL FROM:<a@b.c>", "DATA"], "554 5.5.1"),
        (["MAIL FROM:<a@b.c>", "MAIL FROM:<a@b.c>"], "503 5.5.1"),
        (["MAIL FROM:<a@b.c>", "RSET", "RCPT TO:<a@b.c>"], "503 5.5.1"),
        (["MAIL a@b.c"], "501 5.5.4"),
        (["MAIL FROM:<a@b.c>", "RCPT TO:<>"], "501 5.5.4"),
        (["MAIL FROM:<a@b.c> SIZE=26214401"], "552 5.3.4"),
        (["MAIL FROM:<a@b.c> RET=HDRS"], "555 5.5.4"),
        (["BDAT 3"], "500 5.5.2"),
        (["__init__"], "500 5.5.2"),
        ([""], "500 5.5.2"),
    ],
)
def test_each_command_has_its_reply(client: smtplib.SMTP, commands: list[str], reply: str) -> None:
    for command in commands:
        client.putcmd(command)
        code, text = client.getreply()
    assert f"{code} {text.decode()}".startswith(reply)


def test_a_line_without_end_is_hung_up_on(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(b"x" * 1_048_577)
        reply = sock.makefile("rb").readlines()
    assert reply[1:] == [b"421 4.5.2 That line does not end\r\n"]


def test_slow_takes_the_message_after_the_delay(server: Running, client: smtplib.SMTP) -> None:
    server.faults(mode="slow", delay=0.3)
    started = time.monotonic()
    client.mail(ME)
    assert time.monotonic() - started >= 0.3
    client.rcpt(YOU)
    client.data(b"Hello")
    assert len(server.received()) == 1


def test_slow_is_over_when_something_else_is_asked_for(server: Running) -> None:
    server.faults(mode="slow", delay=60)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        replies = sock.makefile("rb")
        sock.sendall(f"NOOP\r\nMAIL FROM:<{ME}>\r\n".encode())
        assert [replies.readline()[:3] for _ in range(2)] == [b"220", b"250"]
        server.faults(mode="ok")
        assert replies.readline() == b"250 2.1.0 OK\r\n"


def test_down_hangs_up_and_refuses_until_it_is_over(server: Running, client: smtplib.SMTP) -> None:
    server.faults(mode="down")
    wait_until(lambda: not server.listens(), "end of listening")
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()
    server.faults(mode="down", until=time.time())
    wait_until(server.listens, "return of the server")
    with closing(server.connect()) as again:
        again.send_message(message())
    assert len(server.received()) == 1


def test_defer_turns_each_recipient_away_for_now(server: Running, client: smtplib.SMTP) -> None:
    server.faults(mode="defer", delay=0)
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        client.send_message(message(), ME, [YOU, OTHER])
    answer = (451, b"4.2.1 The mailbox is busy, try again later")
    assert caught.value.recipients == {YOU: answer, OTHER: answer}
    assert server.received() == []


def test_refuse_turns_each_recipient_away_for_good(server: Running, client: smtplib.SMTP) -> None:
    server.faults(mode="refuse")
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        client.send_message(message())
    assert caught.value.recipients == {YOU: (550, b"5.1.1 There is no such mailbox")}
    assert server.received() == []


def test_drop_keeps_the_message_and_hangs_up(server: Running, client: smtplib.SMTP) -> None:
    server.faults(mode="drop")
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.send_message(message())
    assert [one["answered"] for one in server.received()] == [False]


def test_greylist_takes_each_message_at_its_second_try(
    server: Running, client: smtplib.SMTP
) -> None:
    server.faults(mode="greylist")
    for key in ("<1@test>", "<2@test>"):
        with pytest.raises(smtplib.SMTPDataError) as caught:
            client.send_message(message(key))
        assert caught.value.smtp_code == 451
        assert caught.value.smtp_error == b"4.7.1 Greylisted, try again"
    client.send_message(message("<2@test>"))
    client.send_message(message("<1@test>"))
    assert [one["message_id"] for one in server.received()] == ["<2@test>", "<1@test>"]


def test_faults_change_between_two_messages_of_one_connection(
    server: Running, client: smtplib.SMTP
) -> None:
    server.faults(mode="refuse")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        client.send_message(message())
    server.faults(mode="ok")
    client.send_message(message())
    assert len(server.received()) == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "faults.json is ignored. Expecting property name"),
        ('{"mode": "rude"}', "faults.json is ignored. 'mode' must be one of ok, slow, down"),
        ('{"mode": []}', "faults.json is ignored. 'mode' must be one of ok, slow, down"),
        ('{"delay": -1}', "faults.json is ignored. 'delay' must be a number of seconds from 0 to"),
        ('{"delay": "1"}', "faults.json is ignored. 'delay' must be a number of seconds from 0 to"),
        ('{"until": "soon"}', "faults.json is ignored. 'until' must be a number of Unix seconds."),
        ('{"speed": 1}', "faults.json is ignored. It must be an object with 'mode', 'delay' and"),
    ],
)
def test_faults_that_make_no_sense_are_reported_once_and_mean_ok(
    tmp_path: Path, text: str, complaint: str
) -> None:
    running = start(tmp_path)
    # At once, as the demo does it: the server looks again and again.
    (tmp_path / "written").write_text(text)
    (tmp_path / "written").replace(tmp_path / "faults.json")
    with closing(running.connect()) as smtp:
        smtp.send_message(message("<1@test>"))
        smtp.send_message(message("<2@test>"))
    (line,) = stop(running).splitlines()
    assert line.startswith(complaint)
    assert len(running.received()) == 2


def test_the_newest_200_are_kept_and_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    kept = tmp_path / "received"
    kept.mkdir()
    for number in range(1, 202):
        (kept / f"{number:08d}.json").write_text("{}")
        (kept / f"{number:08d}.eml").write_text("")
    running = start(tmp_path)
    with closing(running.connect()) as smtp:
        smtp.send_message(message())
    assert stop(running) == ""
    assert sorted(p.stem for p in kept.glob("*.json")) == [f"{n:08d}" for n in range(3, 203)]
    assert sorted(p.stem for p in kept.glob("*.eml")) == [f"{n:08d}" for n in range(3, 203)]


def test_a_port_in_use_is_a_clear_error(server: Running, tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, str(SERVER), "--dir", str(tmp_path), "--port", str(server.port)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr.startswith("The mail server cannot start: ")
