"""Run as a program, in a process of its own: sends messages by ``flask_mail`` and prints what a parser reads in them.

``python written.py theirs`` uses the real Flask-Mail, ``python written.py ours`` this package under its name. With
``names`` as the second argument the names and signatures of the module are printed instead.
"""

from __future__ import annotations

import email
import inspect
import json
import sys
from email import policy
from email.utils import parseaddr
from typing import Any

PNG = b"\x89PNG\r\n\x1a\n"

#: What each message is made of, by a name for it.
MESSAGES: dict[str, dict[str, Any]] = {
    "plain": {"body": "Hello Joe,\nHow are you?"},
    "beyond ASCII": {"subject": "Grüße 🎉", "body": "Schöne Grüße 🎉\n", "html": "<p>Grüße</p>"},
    "text and html": {"body": "text", "html": "<p>html</p>"},
    "html alone": {"html": "<p>Hello <a href='https://example.org'>world</a></p>"},
    "alternatives": {"body": "text", "alts": {"calendar": "BEGIN:VCALENDAR\nEND:VCALENDAR"}},
    "alternative alone": {"alts": {"json": '{"a": 1}'}},
    "nothing": {},
    "names": {
        "sender": ("Müller", "me@example.org"),
        "recipients": [("Last, First", "a@example.org"), "Ä Ö <b@example.org>", "c@example.org"],
        "cc": ["Copy <d@example.org>"],
        "bcc": ["secret@example.org"],
        "reply_to": "Answers <e@example.org>",
        "body": "text",
    },
    "repeated recipients": {"recipients": ["a@example.org", "a@example.org"], "body": "text"},
    "domain beyond ASCII": {"recipients": ["a@müller.example"], "body": "text"},
    "long subject": {"subject": "word " * 40 + "end", "body": "text"},
    "folded subject": {"subject": "one\r\n two\r\n three", "body": "text"},
    "dots and From": {"body": ".\n..\nFrom here\n.end"},
    "long line": {"body": "x" * 2000},
    "carriage returns": {"body": "a\r\nb\rc\nd"},
    "trailing spaces": {"body": "a \n\tb\t\n"},
    "headers": {"extra_headers": {"X-One": "1", "List-Id": "<l.example.org>"}, "body": "text"},
    "date": {"date": 1_000_000_000.5, "body": "text"},
    "options": {
        "mail_options": ["BODY=8BITMIME"],
        "rcpt_options": ["NOTIFY=SUCCESS"],
        "body": "text",
    },
    "shift_jis": {"subject": "表題", "body": "内容", "charset": "shift_jis"},
    "latin-1": {"subject": "grün", "body": "grün", "charset": "iso-8859-1"},
    "us-ascii": {"body": "plain", "charset": "us-ascii"},
    "attachment": {"body": "text", "files": [("a.bin", None, b"\0\1\2\xff")]},
    "attachment of text": {"body": "text", "files": [("a.txt", "text/plain", "Hello\nworld")]},
    "attachment alone": {"files": [("a.csv", "text/csv", b"1,2\r\n")]},
    "attachment without name": {"body": "text", "files": [(None, None, b"data")]},
    "attachment beyond ASCII": {"body": "text", "files": [("ünicöde ←→ ✓.txt", None, b"data")]},
    "attachment with quotes": {"body": "text", "files": [('a "b" c.txt', None, b"data")]},
    "attachment with html": {"body": "t", "html": "<p>", "files": [("a.pdf", None, b"%PDF")]},
    "picture in the html": {
        "body": "text",
        "html": "<img src='cid:logo'>",
        "files": [("logo.png", "image/png", PNG, "inline", {"Content-ID": "<logo>"})],
    },
    "picture nobody shows": {
        "body": "text",
        "html": "<p>",
        "files": [("logo.png", "image/png", PNG, "inline", {"Content-ID": "<logo>"})],
    },
    "header of an attachment": {
        "body": "text",
        "files": [("a.txt", None, b"data", None, {"X-Part": "1"})],
    },
    "large": {"body": "text", "files": [("a.bin", None, bytes(range(256)) * 300)]},
}


class Host:
    """Takes what would go to the server."""

    def sendmail(self, sender: str, to: list[str], content: bytes, *options: list[str]) -> None:
        self.taken = {
            "envelope": [parseaddr(sender)[1], *sorted(parseaddr(one)[1] for one in to)],
            "options": options,
            **read(content),
        }

    def quit(self) -> None: ...


def read(content: bytes) -> dict[str, Any]:
    """What the parser of the standard library reads."""
    parsed = email.message_from_bytes(content, policy=policy.default)
    headers = {
        name: _mailboxes(value) if hasattr(value, "addresses") else str(value)
        for name, value in parsed.items()
        if name not in ("Content-Type", "Content-Transfer-Encoding", "Message-ID")
    }
    if "Date" in headers:
        headers["Date"] = int(parsed["Date"].datetime.timestamp()) == 1_000_000_000
    return {
        "headers": headers,
        "tree": [part.get_content_type() for part in parsed.walk()],
        "parts": [_part(part) for part in parsed.walk() if not part.is_multipart()],
    }


def _mailboxes(value: Any) -> list[list[str]]:
    return sorted([one.display_name, one.addr_spec] for one in value.addresses)


def _part(part: Any) -> dict[str, Any]:
    data = part.get_payload(decode=True)
    if part.get_content_maintype() == "text" and not part.get_filename():
        # Line ends are those of the wire, and the last one that of the part.
        lines = data.decode(part.get_content_charset("utf-8")).replace("\r\n", "\n")
        data = lines.rstrip("\n").encode()
    return {
        "type": part.get_content_type(),
        "charset": part.get_content_charset(),
        "disposition": part.get_content_disposition(),
        "name": part.get_filename(),
        "id": part["Content-ID"],
        "own": part["X-Part"],
        "data": data.hex(),
    }


def sent() -> dict[str, Any]:
    """Each message as it was read on its way to the server."""
    from flask import Flask

    import flask_mail

    host = Host()
    flask_mail.Connection.configure_host = lambda self: host  # type: ignore[method-assign,assignment,return-value]
    app = Flask("app")
    app.config.update(MAIL_DEFAULT_SENDER="me@example.org", MAIL_ENGINE="immediate")
    mail = flask_mail.Mail(app)
    found = {}
    with app.app_context():
        for name, fields in MESSAGES.items():
            given = {"subject": "Hello", "recipients": ["you@example.org"]} | fields
            files = given.pop("files", [])
            message = flask_mail.Message(**given)
            for file in files:
                message.attach(*file)
            mail.send(message)
            shown = read(message.as_bytes())
            found[name] = host.taken | {"as_bytes": shown.items() <= host.taken.items()}
    return found


def names() -> dict[str, Any]:
    """The names of the module, and what can be called with its parameters."""
    import flask_mail

    found: dict[str, Any] = {}
    for name in dir(flask_mail):
        thing = getattr(flask_mail, name)
        if getattr(thing, "__module__", None) != flask_mail.__name__:
            found[name] = None
            continue
        found[name] = _parameters(thing)
        for member in vars(thing) if inspect.isclass(thing) else ():
            if callable(getattr(thing, member)) and (member == "_message" or member[0] != "_"):
                found[f"{name}.{member}"] = _parameters(getattr(thing, member))
    return found


def _parameters(thing: Any) -> list[list[str]] | None:
    if not callable(thing) or (inspect.isclass(thing) and issubclass(thing, Exception)):
        return None
    taken = inspect.signature(thing).parameters.values()
    return [[p.name, p.kind.name, repr(p.default)] for p in taken]


if __name__ == "__main__":
    if sys.argv[1] == "ours":
        import flask_outbox

        flask_outbox.install_as_flask_mail()
    print(json.dumps(names() if sys.argv[2:] else sent()))
