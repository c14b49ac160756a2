"""The letter: a message sealed. Frozen, validated and serialisable; everything after sealing sees only this.

It stays structured, because providers want the parts, and attachments are stored once however many letters
carry them. :func:`flask_outbox.mail.mime.compose` turns it into bytes, the same bytes at every call.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Generic, TypeVar

from .address import Address

#: The version of the stored form. A reader that meets a higher one refuses.
SCHEMA = 1

#: How long a transport's name may be.
TRANSPORT = 255

#: The version of the composer. A letter is always composed by the rules it was sealed under.
COMPOSER = 1


_T = TypeVar("_T")


class _Once(Generic[_T]):
    """A property worked out once; unlike Python 3.11's own without a lock, which a fork could take along locked."""

    def __init__(self, function: Callable[[Any], _T]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> _T:
        found = instance.__dict__[self._name] = self._function(instance)
        return found


@dataclass(frozen=True)
class Part:
    """One sealed attachment.

    :param filename: "" where it has none.
    :param content_type: ``type/subtype``, without parameters.
    :param disposition: ``"attachment"`` or ``"inline"``.
    :param content_id: without angle brackets, or "".
    :param headers: further headers of the part, in order.
    :param parameters: of the content type, in order.
    """

    filename: str
    content_type: str
    data: bytes = field(repr=False)
    disposition: str = "attachment"
    content_id: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()

    @_Once
    def digest(self) -> str:
        """SHA-256 of the data in hexadecimal: its name in the blob table."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)  # without slots, so that it can keep its size
class Letter:
    """A message sealed.

    :param id: 32 hexadecimal digits, ordered by time (UUIDv7).
    :param message_id: with angle brackets.
    :param date: Unix seconds; the Date header and DKIM's ``t=``.
    :param envelope_from: RFC 5321's reverse-path; "" is the null path.
    :param envelope_to: RFC 5321's forward-paths, each once, in the order of to, cc, bcc.
    :param raw: the whole message where it had to be composed at seal, else None.
    :param charset: of the texts, as its MIME label.
    :param alternatives: where there are more versions than text and HTML: all of them but the text, the HTML
        among them, each as text subtype and content, the preferred one last.
    :param retry_delays: its own seconds before each further try; an empty one is no second try, None the settings'.
    """

    id: str
    message_id: str
    date: int
    envelope_from: str
    envelope_to: tuple[str, ...]
    sender: Address
    subject: str = ""
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    text: str | None = field(default=None, repr=False)
    html: str | None = field(default=None, repr=False)
    attachments: tuple[Part, ...] = field(default=(), repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    mail_options: tuple[str, ...] = ()
    rcpt_options: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    raw: bytes | None = field(default=None, repr=False)
    composer: int = COMPOSER
    charset: str = "utf-8"
    alternatives: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    retry_delays: tuple[float, ...] | None = None

    @_Once
    def size(self) -> int:
        """About how many bytes the composed message has; exact enough for limits and budgets."""
        if self.raw is not None:
            return len(self.raw)
        # Base64 in lines costs 37 %; a part's headers and a mailbox take some 200 and 50 bytes.
        size = 1_000 + 50 * (len(self.to) + len(self.cc))
        for _, text in (("", self.text), *(self.alternatives or (("", self.html),))):
            if text:
                size += len(text) if text.isascii() else len(text.encode()) * 137 // 100
        for part in self.attachments:
            size += len(part.data) * 137 // 100 + 200
        return size

    def parts(self) -> Iterator[Part]:
        """Everything whose bytes are stored as a blob: the attachments, and the raw message as one."""
        yield from self.attachments
        if self.raw is not None:
            yield Part("", "message/rfc822", self.raw)

    def to_json(self) -> str:
        """The stored form; the blobs' bytes are stored beside it under their digests (:meth:`parts`)."""
        document: dict[str, object] = {"v": SCHEMA, "composer": self.composer}
        for name, default in _FIELDS:
            value = getattr(self, name)
            if value != default:
                document[name] = value
        if self.alternatives:
            document["alternatives"] = [
                (subtype, None if subtype == "html" else content)
                for subtype, content in self.alternatives
            ]
        return _encode(document)

    @classmethod
    def from_json(cls, text: str, blobs: Mapping[str, bytes]) -> Letter:
        """Read the stored form back.

        :param blobs: the bytes of every digest the text names.
        :raises ValueError: the text is of a newer version, or a blob is missing.
        """
        document: dict[str, Any] = json.loads(text)
        version, composer = document.pop("v"), document["composer"]
        if version > SCHEMA or composer > COMPOSER:
            raise ValueError(
                f"Letter {document.get('id')} was stored by a newer Flask-Outbox (schema {version}, composer "
                f"{composer}; this one reads up to {SCHEMA} and {COMPOSER}): upgrade this process."
            )
        for name in document.keys() & _READERS.keys():
            document[name] = _READERS[name](document[name])
        document["attachments"] = tuple(
            _part(stored, blobs) for stored in document.get("attachments", ())
        )
        if "raw" in document:
            document["raw"] = _blob(document["raw"], blobs)
        if "alternatives" in document:
            document["alternatives"] = tuple(
                (subtype, document["html"] if subtype == "html" else content)
                for subtype, content in document["alternatives"]
            )
        return cls(**document)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a letter stands in a batch.

    :param batch: its id.
    :param waits: whether it is not to be sent before the whole batch is published.
    """

    batch: str
    position: int
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """How a letter is to be delivered: what the caller asked for besides the message itself.

    :param transport: its name: a configured one, or a URL without a password.
    :param priority: 0 high, 1 normal, 2 low.
    :param due: Unix seconds before which it must not go, or None for at once.
    :param expires: Unix seconds after which it must not go, or None.
    :param guarantee: ``"at_least_once"`` or ``"at_most_once"``.
    :param key: the caller's own name for this send, or None; see ``mail.send(key=…)``.
    :param hold: why it is not to be sent until a person says so, or "".
    :param place: where it stands among those that it was sent with, or None.
    :param url: of a transport that a name does not make up for: the same with its password. It is never stored.
    """

    transport: str = "default"
    priority: int = 1
    due: float | None = None
    expires: float | None = None
    guarantee: str = "at_least_once"
    key: str | None = None
    hold: str = ""
    url: str = field(default="", repr=False)
    place: Place | None = None


#: Each stored field with the value at which it is left out.
_FIELDS = tuple(
    (f.name, {} if f.default_factory is not MISSING else f.default)
    for f in fields(Letter)
    if f.name != "composer"
)


def _address(stored: list[str]) -> Address:
    return Address(*stored)


def _addresses(stored: list[list[str]]) -> tuple[Address, ...]:
    return tuple(map(_address, stored))


def _pairs(stored: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in stored)


#: What makes a field of its JSON, where they differ.
_READERS: dict[str, Any] = {
    "sender": _address,
    "to": _addresses,
    "cc": _addresses,
    "reply_to": _addresses,
    "headers": _pairs,
    **dict.fromkeys(("envelope_to", "mail_options", "rcpt_options", "tags", "retry_delays"), tuple),
}


def _stored(value: object) -> object:
    """JSON for what JSON does not know."""
    if isinstance(value, Address):
        return [value.addr, value.name] if value.name else [value.addr]
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, Part):
        kept = {
            name: getattr(value, name)
            for name, default in _PART_FIELDS
            if getattr(value, name) != default
        }
        return {**kept, "data": value.digest}
    return dict(value)  # type: ignore[call-overload]  # metadata, of whatever mapping


_PART_FIELDS = tuple((f.name, f.default) for f in fields(Part) if f.name != "data")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_stored).encode


def _part(stored: dict[str, Any], blobs: Mapping[str, bytes]) -> Part:
    stored["data"] = _blob(stored["data"], blobs)
    for name in ("headers", "parameters"):
        stored[name] = _pairs(stored.get(name, []))
    return Part(**stored)


def _blob(digest: str, blobs: Mapping[str, bytes]) -> bytes:
    try:
        return blobs[digest]
    except KeyError:
        raise ValueError(
            f"The blob {digest} is missing; the letter cannot be put together."
        ) from None
