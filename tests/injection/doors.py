"""The ways by which what a stranger wrote comes to be sent, over a server that notes what it is told."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.message import Message as OlderMessage
from functools import cache
from types import ModuleType
from typing import Any

from flask_outbox import Mail, Message
from servers.scripted import ScriptedServer

from .corpus import STRANGER
from .places import FILE, Place

#: What Flask-Mail's class does not know.
_OURS = {"envelope_from", "list_unsubscribe", "tags", "metadata", "priority", "transport"}

_mail = re.compile(r"MAIL FROM:<([^<>\s]*)>((?: [!-<>-~=]+)*)")
_rcpt = re.compile(r"RCPT TO:<([^<>\s]+)>((?: [!-<>-~=]+)*)")


# -- making ----------------------------------------------------------------------------------------------------

Make = Callable[[Place, str], Any]


def ours(place: Place, payload: str) -> Message:
    return place.message(payload)


def by_dict(place: Place, payload: str) -> Message:
    """Ours, after a way through a queue of the application's own."""
    return Message.from_dict(json.loads(json.dumps(place.message(payload).to_dict())))


@cache
def flask_mail() -> ModuleType:
    """Flask-Mail itself, under no name that another test could have given to us."""
    file = importlib.metadata.distribution("flask-mail").locate_file("flask_mail/__init__.py")
    spec = importlib.util.spec_from_file_location("the_real_flask_mail", str(file))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flask_mails(place: Place, payload: str) -> Any:
    if place.field in _OURS:
        raise LookupError(f"Flask-Mail has no {place.field}.")
    return place.message(
        payload,
        lambda **fields: flask_mail().Message(
            **{name: value for name, value in fields.items() if name not in _OURS}
        ),
    )


#: Flask-Mail's fields as headers of the standard library's classes.
_HEADERS = {
    "sender": "From",
    "recipients": "To",
    "cc": "Cc",
    "bcc": "Bcc",
    "reply_to": "Reply-To",
    "subject": "Subject",
    "msgId": "Message-ID",
    "date": "Date",
}
_THEIRS = {*_HEADERS, "body", "extra_headers", "attachments"}
_LISTS = {"recipients", "cc", "bcc", "reply_to"}


def stdlibs(kind: Callable[[], Any]) -> Make:
    """A message of the standard library; the older class takes anything, the newer one refuses line breaks itself."""

    def make(place: Place, payload: str) -> Any:
        if place.field not in _THEIRS:
            raise LookupError(f"The standard library has no {place.field}.")
        if place.field in _LISTS and set(',"') & set(payload):
            raise ValueError("These headers are lists: what is between their commas was asked for.")
        draft = place.message(payload)
        message = kind()
        for name, header in _HEADERS.items():
            value = getattr(draft, name)
            if value := value[0] if isinstance(value, list) and value else value:
                message[header] = value
        for header, value in dict(draft.extra_headers or {}).items():
            message[header] = value
        message["Content-Type"] = "multipart/mixed"
        message.set_payload([_text(kind, draft), _file(kind, draft)])
        return message

    return make


def _text(kind: Callable[[], Any], draft: Message) -> Any:
    part = kind()
    part["Content-Type"] = "text/plain"
    part["Content-Transfer-Encoding"] = "8bit"
    part.set_payload(draft.body)
    return part


def _file(kind: Callable[[], Any], draft: Message) -> Any:
    (file,) = draft.attachments
    part = kind()
    part["Content-Type"] = file.content_type
    part["Content-Disposition"] = f'{file.disposition}; filename="{file.filename}"'
    for header, value in file.headers.items():
        part[header] = value
    part.set_payload(file.data if isinstance(file.data, str) else FILE["data"].decode())
    return part


#: What the other makers refuse with, when they do so themselves.
UNMAKEABLE = (ValueError, TypeError, LookupError, AttributeError)

# -- sending ---------------------------------------------------------------------------------------------------

Send = Callable[[Mail, Any], object]


def send(mail: Mail, message: Any) -> object:
    return mail.send(message)


def over_a_connection(mail: Mail, message: Any) -> object:
    with mail.connect() as connection:
        return connection.send(message)


DOORS: dict[str, tuple[Make, Send]] = {
    "send": (ours, send),
    "connect": (ours, over_a_connection),
    "from_dict": (by_dict, send),
    "flask_mail.Message": (flask_mails, send),
    "EmailMessage": (stdlibs(EmailMessage), send),
    "email.message.Message": (stdlibs(OlderMessage), send),
}

# -- looking ---------------------------------------------------------------------------------------------------


def misheard(server: ScriptedServer, accepted: list[Place]) -> Iterator[str]:
    """What the server was told besides one transaction for each message that was accepted.

    :param accepted: where the payload of each was, in any order.
    """
    commands = [command for session in server.sessions for command in session.commands]
    mails = [command for command in commands if command.startswith("MAIL")]
    if not len(mails) == len(server.messages) == len(accepted):
        yield f"{len(accepted)} messages were sent by {len(mails)} transactions"
    for command in commands:
        verb = command.partition(" ")[0]
        known = {"MAIL": _mail, "RCPT": _rcpt}.get(verb)
        if known is None:
            if verb not in ("EHLO", "DATA", "RSET", "NOOP", "QUIT"):
                yield f"a command of its own: {command!r}"
        elif (found := known.fullmatch(command)) is None:
            yield f"a malformed command: {command!r}"
        elif found[1] == STRANGER and not any(place.whole for place in accepted):
            yield f"the stranger in {command!r}"
    for message in server.messages:
        if len(message.recipients) > 3:
            yield f"{len(message.recipients)} recipients"
