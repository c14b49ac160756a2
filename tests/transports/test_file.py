"""The transport that writes files."""

from __future__ import annotations

import asyncio
import mailbox
from email import message_from_bytes, policy
from pathlib import Path

from flask_outbox.mail.letter import Part
from flask_outbox.mail.mime import compose
from flask_outbox.rules.outcomes import Kind, Report, Scope
from flask_outbox.transports.file import FileTransport

from .sending import YOU, Cleared, letter

TWO = ("a@example.net", "b@example.net")


def write(road: FileTransport, to: tuple[str, ...] = YOU) -> Report:
    return asyncio.run(road.deliver(letter(to=to), to, Cleared()))


def test_a_letter_becomes_an_eml_file(tmp_path: Path) -> None:
    assert write(FileTransport(tmp_path / "mails")).all_accepted
    (file,) = (tmp_path / "mails").iterdir()
    assert file.suffix == ".eml"
    assert file.read_bytes().endswith(b"Subject: 1\r\n\r\nBody\r\n")


def test_the_envelope_stands_before_the_message(tmp_path: Path) -> None:
    write(FileTransport(tmp_path), to=TWO)
    (file,) = tmp_path.iterdir()
    message = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert message["Return-Path"] == "<me@example.org>"
    assert message.get_all("Delivered-To") == list(TWO)


def test_a_large_letter_is_written_as_it_was_composed(tmp_path: Path) -> None:
    attached = Part("a.bin", "application/octet-stream", b"0123456789abcdef" * 20_000)
    large = letter(raw=None, attachments=(attached,))
    asyncio.run(FileTransport(tmp_path).deliver(large, YOU, Cleared()))
    (file,) = tmp_path.iterdir()
    assert file.read_bytes().endswith(b"\r\n" + compose(large))


def test_a_second_try_is_a_second_file(tmp_path: Path) -> None:
    road = FileTransport(tmp_path)
    write(road, to=TWO)
    write(road, to=TWO[1:])
    assert len(list(tmp_path.iterdir())) == 2


def test_a_mail_reader_opens_the_maildir(tmp_path: Path) -> None:
    write(FileTransport(tmp_path / "box", maildir=True))
    (message,) = mailbox.Maildir(tmp_path / "box")
    assert message["Subject"] == "1"


def test_nobody_else_may_read_what_it_writes(tmp_path: Path) -> None:
    write(FileTransport(tmp_path / "mails"))
    assert (tmp_path / "mails").stat().st_mode & 0o077 == 0


def test_what_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "mails").write_text("a file where the folder should be")
    (outcome,) = write(FileTransport(tmp_path / "mails")).outcomes.values()
    assert (outcome.kind, outcome.scope) == (Kind.DEFERRED, Scope.TRANSPORT)
    assert "mails" in outcome.text


def test_nothing_is_written_that_was_withdrawn(tmp_path: Path) -> None:
    road = FileTransport(tmp_path)
    report = asyncio.run(road.deliver(letter(), YOU, Cleared(content=False)))
    assert report == Report()
    assert list(tmp_path.iterdir()) == []
