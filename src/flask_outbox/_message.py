"""The public :class:`Message`: the draft, with what Flask-Mail's does besides."""

from __future__ import annotations

import copy
import os
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ._application import application_here
from .errors import MessageError
from .mail.address import Address, Written, listed, parse_address
from .mail.message import Message as Draft
from .mail.message import is_lazy

if TYPE_CHECKING:
    import email.message

    from ._flask_mail import Connection
    from .engines.base import Receipt

_line_ends = re.compile(r"[\r\n]+")
# What makes a name other than it stands, once it is written before an address.
_speaking = re.compile(r'[<>"\\]|=\?')


def new_id(now: float) -> str:
    """A UUIDv7 (RFC 9562) in hexadecimal: ordered by time, so that new rows stand together."""
    millis = int(now * 1000)
    value = (millis << 80) | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return f"{value:032x}"


def overrides(thing: object, original: Callable[..., Any]) -> bool:
    """Whether a subclass or a patch has put something else in the place of a method."""
    found = getattr(thing, original.__name__)
    return getattr(found, "__func__", found) is not original


class Message(Draft):
    __doc__ = Draft.__doc__

    subject: str
    body: str | None
    sender: Written | None

    _own_id: str | None = None
    _letter_id: str | None = None
    _is_sent = False
    _dated: float | None = None

    def _complete(self) -> None:
        """Take what the application has: its default sender, and its language of this moment."""
        sender: Written | None = self.sender
        if (app := application_here()) is not None:
            if not sender:
                sender = getattr(app.extensions.get("mail"), "default_sender", None)
            if self.locale is None:
                self._read_lazy_strings()
        if type(sender) is tuple and len(sender) == 2 and sender[0]:
            name, addr = sender
            if not _speaking.search(str(name)):
                sender = f"{name} <{addr}>"
        self.sender = sender

    def _read_lazy_strings(self) -> None:
        if type(self.subject) is not str and is_lazy(self.subject):
            self.subject = str(self.subject)
        if self.body is not None and is_lazy(self.body):
            self.body = str(self.body)
        for subtype, text in self.alts.items():
            if is_lazy(text):
                self.alts[subtype] = str(text)

    # -- its letters -------------------------------------------------------------------------------------------

    @property
    def msgId(self) -> str:  # noqa: N802 - Flask-Mail's name
        """The Message-ID with its angle brackets: the caller's own, or that of the letter made last, or next."""
        if self._own_id is not None:
            return self._own_id
        if self._letter_id is None:
            self._letter_id = new_id(time.time())
        try:
            domain = parse_address(self.sender or "", "sender").domain
        except MessageError:
            domain = "localhost"
        return f"<{self._letter_id}@{domain}>"

    @msgId.setter
    def msgId(self, value: str | None) -> None:  # noqa: N802  # pyright: ignore[reportIncompatibleVariableOverride]
        self._own_id = value

    @property
    def own_id(self) -> str | None:
        """The Message-ID that the caller chose, if any."""
        return self._own_id

    @property
    def own_date(self) -> float | None:
        """The date that the caller chose, if any."""
        return None if self.date == self._dated else self.date

    def next_letter_id(self) -> str | None:
        """The id that :attr:`msgId` shows already; a message that is sent again has a new one, and a new date."""
        self.date = self.own_date
        return None if self._is_sent else self._letter_id

    def note_letter(self, id: str, now: float) -> None:
        """Remember the letter that was made of it."""
        self._letter_id, self._is_sent = id, True
        if self.date is None:
            self.date = self._dated = now

    def __getstate__(self) -> dict[str, object]:
        state = super().__getstate__()
        # A copy is a message of its own, with letters of its own.
        return {
            name: value for name, value in state.items() if name not in ("_letter_id", "_is_sent")
        }

    # -- as Flask-Mail shows it --------------------------------------------------------------------------------

    def as_bytes(self) -> bytes:
        """The message composed as it would be sent now, but that line ends in addresses are left out.

        :raises MessageError: it could not be sent as it is; ``field`` says what is at fault.
        """
        return self._message().as_bytes() if overrides(self, _MESSAGE) else self._composed()

    def as_string(self) -> str:
        """:meth:`as_bytes` as text."""
        return self.as_bytes().decode("utf-8", "surrogateescape")

    def __bytes__(self) -> bytes:
        return self.as_bytes()

    def __str__(self) -> str:
        return self.as_string()

    def _message(self) -> email.message.Message:
        """The message as the standard library has it. What a subclass returns here is sent in its place."""
        from email import message_from_bytes, policy

        plain = policy.compat32.clone(linesep="\r\n", mangle_from_=False)
        return message_from_bytes(self._composed(), policy=plain)

    @property
    def own_content(self) -> bytes | None:
        """What a subclass that composes by itself wants sent; None where none does."""
        composes = overrides(self, _MESSAGE) or overrides(self, _AS_BYTES)
        return self.as_bytes() if composes else None

    def _composed(self) -> bytes:
        from .mail.mime import compose
        from .mail.seal import SealDefaults, seal

        message_id = self.msgId
        self._letter_id = id = self._letter_id or new_id(time.time())
        shown = copy.copy(self)
        shown.msgId = message_id
        for name in ("sender", "reply_to", "recipients", "cc"):
            setattr(shown, name, _without_line_ends(getattr(self, name)))
        # Flask-Mail shows a draft without recipients all the same.
        shown.bcc = [] if shown.recipients or shown.cc else ["nobody@localhost"]
        app = application_here()
        state = app.extensions.get("mail") if app is not None else None
        desk, now = getattr(state, "desk", None), time.time()
        if desk is not None:
            letter = desk.seal(state, shown, id, now)
        else:
            letter = seal(shown, id=id, now=now, defaults=SealDefaults())
        if "\n" in str(self.subject) and not self.has_bad_headers():
            letter = replace(letter, subject=str(self.subject))  # folded as the caller folded it
        return compose(letter)

    # -- what Flask-Mail has besides ---------------------------------------------------------------------------

    def has_bad_headers(self) -> bool:
        """Whether there is a line end in the sender, a recipient or the reply address, or a bad one in the subject.

        A subject may be folded: a line end, and white space before the text that goes on (RFC 5322 §2.2.3).
        """
        addresses = [*listed(self.sender), *listed(self.recipients), *listed(self.reply_to)]
        if any(_line_ends.search(_text(address)) for address in addresses):
            return True
        first, *others = str(self.subject or "").split("\r\n")
        if not others:
            return bool(_line_ends.search(first))
        return any(
            _line_ends.search(line) or not line.strip() for line in (first, *others)
        ) or not all(line.startswith((" ", "\t")) for line in others)

    def is_bad_headers(self) -> bool:
        """The old name of :meth:`has_bad_headers`."""
        warnings.warn(
            "'is_bad_headers' is the old name of 'has_bad_headers'.", DeprecationWarning, 2
        )
        return self.has_bad_headers()

    def send(self, connection: Connection) -> Receipt:
        """Send it over a connection."""
        return connection.send(self)


# As they are here, whatever is put in their place later.
_MESSAGE, _AS_BYTES = Message._message, Message.as_bytes


def _without_line_ends(value: object) -> object:
    if isinstance(value, list):
        return [_without_line_ends(one) for one in value]
    if isinstance(value, tuple):
        return tuple(_without_line_ends(one) for one in value)
    return _line_ends.sub("", value) if isinstance(value, str) else value


def _text(address: object) -> str:
    if isinstance(address, Address):
        address = (address.name, address.addr)
    return " ".join(map(str, address)) if isinstance(address, tuple) else str(address)
