"""The names of Flask-Mail 0.10, and our module in its place.

Flask-Mail itself is imported in other processes only: it changes a setting of the ``email`` package for all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flask_outbox.flask_mail as ours
from flask_outbox import sanitize_address, sanitize_addresses
from flask_outbox.flask_mail import FlaskMailUnicodeDecodeError, force_text, sanitize_subject

from .written import _parameters

#: What their names are besides: for their own annotations, and a function of their ``has_bad_headers``.
INTERNAL = {"annotations", "c", "t", "_has_newline"}


def run(*arguments: str | Path) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    program = Path(__file__).with_name("written.py")
    return {whose: json.loads(run(program, whose, "names")) for whose in ("ours", "theirs")}


def test_each_of_their_names_is_there(names: Any) -> None:
    theirs = {name for name in names["theirs"] if not name.startswith("__") and "." not in name}
    assert [name for name in theirs - INTERNAL if not hasattr(ours, name)] == []


def test_each_takes_what_theirs_takes_by_place_and_by_name(names: Any) -> None:
    checked = 0
    for path, their in names["theirs"].items():
        if their is None or path in INTERNAL:
            continue
        our = _parameters(found(path))
        assert our[: len(their)] == their, path
        assert {kind for _, kind, _ in our[len(their) :]} <= {"KEYWORD_ONLY"}, path
        checked += 1
    assert checked > 25


def found(path: str) -> Any:
    thing: Any = ours
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing


def test_a_name_that_they_do_not_have_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        ours.nonsense  # noqa: B018 - that is the fact


def test_the_version_is_that_of_the_face_and_warns() -> None:
    with pytest.warns(DeprecationWarning, match="__version__"):
        assert ours.__version__ == "0.10.0"


# -- install_as_flask_mail -----------------------------------------------------------------------------------------


def test_installed_it_is_what_libraries_import() -> None:
    code = (
        "import flask_outbox; flask_outbox.install_as_flask_mail(); flask_outbox.install_as_flask_mail();"
        "import flask_mail; from flask_mail import Mail, Message, Header, email_dispatched;"
        "print(Mail is flask_outbox.Mail, Message is flask_outbox.Message, flask_mail.__name__)"
    )
    assert run("-c", code) == "True True flask_outbox.flask_mail"


def test_after_flask_mail_was_imported_it_says_so() -> None:
    code = (
        "import flask_mail, flask_outbox\n"
        "try: flask_outbox.install_as_flask_mail()\n"
        "except RuntimeError as error: print(error)"
    )
    assert "before whatever imports 'flask_mail'" in run("-c", code)


def test_a_message_of_the_real_flask_mail_is_taken() -> None:
    code = (
        "import flask_mail; from flask import Flask; from flask_outbox import Mail\n"
        "app = Flask('app'); app.testing = True; app.config['MAIL_DEFAULT_SENDER'] = 'me@example.org'\n"
        "mail = Mail(app)\n"
        "with app.app_context(), mail.record_messages() as outbox:\n"
        "    message = flask_mail.Message('Hello', ['you@example.org'], 'Hi')\n"
        "    print(message.sender, mail.send(message).message_id == message.msgId, outbox == [message])\n"
        "    print(app.extensions['mail'].send(message).state)"
    )
    assert run("-c", code) == "me@example.org True True\nsuppressed"


# -- functions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "sane"),
    [
        ("you@example.org", "you@example.org"),
        ("You <you@example.org>", "You <you@example.org>"),
        (("You", "you@example.org"), "You <you@example.org>"),
        (("Last, First", "you@example.org"), '"Last, First" <you@example.org>'),
        (('A "B" C', "you@example.org"), '"A \\"B\\" C" <you@example.org>'),
        ("Müller <you@example.org>", "=?utf-8?q?M=C3=BCller?= <you@example.org>"),
        ("you@müller.example", "you@xn--mller-kva.example"),
        ("you\r\n@example.org", "you@example.org"),
        (("Y\r\nou", "you@example.org\n"), "You <you@example.org>"),
        (b"you@example.org", "you@example.org"),
    ],
)
def test_an_address_is_made_sane(address: Any, sane: str) -> None:
    assert sanitize_address(address) == sane
    assert sanitize_addresses([address]) == [sane]


def test_a_name_is_written_in_the_charset_that_is_asked_for() -> None:
    assert sanitize_address("送信者 <a@b.org>", "shift_jis").startswith("=?iso-2022-jp?b?")
    assert sanitize_address("送信者 <a@b.org>", "latin-1").startswith("=?utf-8?b?")


@pytest.mark.parametrize(
    ("subject", "encoding", "sane"),
    [
        ("plain", "utf-8", "plain"),
        ("grün", "utf-8", "=?utf-8?b?Z3LDvG4=?="),
        ("grün", "latin-1", "=?iso-8859-1?q?gr=FCn?="),
        ("日本", "latin-1", "=?utf-8?b?5pel5pys?="),
    ],
)
def test_a_subject_is_made_sane(subject: str, encoding: str, sane: str) -> None:
    assert sanitize_subject(subject, encoding) == sane


@pytest.mark.parametrize(
    ("thing", "text"), [("text", "text"), (b"bytes", "bytes"), (7, "7"), ("grün".encode(), "grün")]
)
def test_anything_is_made_text(thing: object, text: str) -> None:
    assert force_text(thing) == text


def test_bytes_that_are_no_text_are_shown() -> None:
    with pytest.raises(FlaskMailUnicodeDecodeError, match=r"You passed in b'\\xff'"):
        force_text(b"\xff")
