"""The message as a document: a dict that JSON can carry, and read back.

``v`` is the version of the form. A field that has its default is left out; an address is text or the pair
``[name, address]``; a file is base64 under ``data``, or ``text`` where text was attached.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sized
from typing import TypeVar, cast

from ..errors import MessageError
from .address import Address, listed
from .message import Attachment, Message, is_lazy
from .strings import plain_text

#: A reader that meets a higher one refuses.
VERSION = 1

#: Where the caller's own value is, for what a send fills in.
_OWN = {"msgId": "own_id", "date": "own_date"}

_Read = TypeVar("_Read", bound=Message)


def write(message: Message) -> dict[str, object]:
    """The document of a message."""
    document: dict[str, object] = {"v": VERSION}
    for field, (written, _) in _FORMS.items():
        value = getattr(message, _OWN.get(field, field))
        if not _is_default(value):
            document[field] = written(value, field)
    # Where there are more versions than the HTML, it stands among them, because their order counts.
    document.pop("alts" if message.alts.keys() == {"html"} else "html", None)
    return document


def read(document: Mapping[str, object], kind: type[_Read]) -> _Read:
    """The message of a document.

    :param kind: the class to make.
    """
    if not isinstance(document, Mapping):
        raise _mistyped(document, "document", "the dict that to_dict() made")
    fields = dict(document)
    version = fields.pop("v", None)
    if type(version) is not int:
        raise MessageError(
            "v: the document names no version, so to_dict() did not make it; "
            "make the message of your own dict by Message(**fields).",
            field="v",
        )
    if version > VERSION:
        raise MessageError(
            f"v: the document was made by a newer Flask-Outbox (version {version}; this one reads up to "
            f"{VERSION}); upgrade this process.",
            field="v",
        )
    for field, value in fields.items():
        if field not in _FORMS:
            raise MessageError(
                f"{field}: a message has no such field; take it out of the document.",
                field=str(field),
            )
        fields[field] = _FORMS[field][1](value, field)
    message_id = fields.pop("msgId", None)
    message = kind(**fields)  # type: ignore[arg-type]  # each was read as its field's type
    if message_id is not None:
        message.msgId = cast("str", message_id)
    return message


def _is_default(value: object) -> bool:
    # True is the default of the only field that is a yes or no; a number has no length.
    return value is None or value is True or (isinstance(value, Sized) and not len(value))


def _mistyped(value: object, field: str, needed: str) -> MessageError:
    return MessageError(
        f"{field}: {needed} is needed here, not {type(value).__name__}.", field=field
    )


# -- text, numbers, lists ----------------------------------------------------------------------------------------


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise _mistyped(value, field, "text")
    return value


def _texts(value: object, field: str) -> list[str]:
    one = isinstance(value, str) or is_lazy(value)
    return [plain_text(word, field) for word in ([value] if one else _sequence(value, field))]


def _texts_read(value: object, field: str) -> list[str]:
    return [_text(word, field) for word in _list(value, field)]


def _sequence(value: object, field: str) -> list[object]:
    if not isinstance(value, list | tuple | set | frozenset):
        raise _mistyped(value, field, "a list")
    return [*value]


def _list(value: object, field: str) -> list[object]:
    if not isinstance(value, list):
        raise _mistyped(value, field, "a list")
    return value


def _number(value: object, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _mistyped(value, field, "a number of Unix seconds, like time.time()")
    return value


def _flag(value: object, field: str) -> bool:
    if not isinstance(value, bool):
        raise _mistyped(value, field, "True or False")
    return value


def _mapping(value: object, field: str) -> Mapping[object, object]:
    if not isinstance(value, Mapping):
        raise _mistyped(value, field, "a dict")
    return value


def _text_by_name(value: object, field: str) -> dict[str, str]:
    return {
        plain_text(name, field): plain_text(content, field)
        for name, content in _mapping(value, field).items()
    }


def _text_by_name_read(value: object, field: str) -> dict[str, str]:
    return {
        _text(name, field): _text(content, field)
        for name, content in _mapping(value, field).items()
    }


def _versions(value: object, field: str) -> dict[str, str]:
    """What the message has beside its text; an empty version is none."""
    kept = {subtype: text for subtype, text in _mapping(value, field).items() if text}
    return _text_by_name(kept, field)


def _headers(value: object, field: str) -> dict[str, str] | list[list[str]]:
    """Headers as they were given: a dict, or pairs, of which several may have the same name."""
    if isinstance(value, Mapping):
        return _text_by_name(value, field)
    return [_pair(pair, field) for pair in _sequence(value, field)]


def _headers_read(value: object, field: str) -> dict[str, str] | list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return _text_by_name_read(value, field)
    return [_pair_read(pair, field) for pair in _list(value, field)]


def _pair(value: object, field: str) -> list[str]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise _mistyped(value, field, "a pair of texts")
    return [plain_text(value[0] or "", field), plain_text(value[1], field)]


def _pair_read(value: object, field: str) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise _mistyped(value, field, "a pair of texts")
    return _text(value[0], field), _text(value[1], field)


# -- addresses ---------------------------------------------------------------------------------------------------


def _address(value: object, field: str) -> str | list[str]:
    if isinstance(value, Address):
        return [value.name, value.addr]
    if isinstance(value, list | tuple):
        return _pair(value, field)
    return plain_text(value, field)


def _address_read(value: object, field: str) -> str | tuple[str, str]:
    return _pair_read(value, field) if isinstance(value, list) else _text(value, field)


def _addresses(value: object, field: str) -> list[str | list[str]]:
    return [_address(one, field) for one in listed(value)]  # type: ignore[arg-type]  # _address looks


def _addresses_read(value: object, field: str) -> list[str | tuple[str, str]]:
    return [_address_read(one, field) for one in _list(value, field)]


def _reply_to(value: object, field: str) -> list[str | list[str]]:
    return [_address(value, field)] if isinstance(value, tuple) else _addresses(value, field)


def _reply_to_read(
    value: object, field: str
) -> str | tuple[str, str] | list[str | tuple[str, str]]:
    addresses = _addresses_read(value, field)
    return addresses[0] if len(addresses) == 1 else addresses


# -- files and template values -----------------------------------------------------------------------------------


def _files(value: object, field: str) -> list[dict[str, object]]:
    return [_file(one, field) for one in _sequence(value, field)]


def _file(attachment: object, field: str) -> dict[str, object]:
    if not hasattr(attachment, "content_type"):
        raise _mistyped(attachment, field, "an Attachment (message.attach(…) makes one)")
    file = cast("Attachment", attachment)
    written: dict[str, object] = {
        "content_type": plain_text(file.content_type, field),
        "disposition": plain_text(file.disposition, field),
    }
    if file.filename is not None:
        written["filename"] = plain_text(file.filename, field)
    if file.headers:
        written["headers"] = _headers(file.headers, field)
    if isinstance(file.data, bytes | bytearray | memoryview):
        written["data"] = _base64(file.data, field)
    else:
        written["text"] = plain_text(file.data, field)
    return written


def _files_read(value: object, field: str) -> list[Attachment]:
    return [_file_read(one, field) for one in _list(value, field)]


def _file_read(value: object, field: str) -> Attachment:
    stored = dict(_mapping(value, field))
    if ("data" in stored) == ("text" in stored):
        raise MessageError(
            f"{field}: a file needs either its 'data' in base64 or its 'text'.", field=field
        )
    octets = stored.pop("data", None)
    data = _text(stored.pop("text"), field) if octets is None else _octets(octets, field)
    headers = _headers_read(stored.pop("headers", {}), field)
    unknown = stored.keys() - {"filename", "content_type", "disposition"}
    if unknown:
        raise MessageError(f"{field}: a file has no {unknown.pop()!r}; take it out.", field=field)
    texts = {str(name): _text(content, field) for name, content in stored.items()}
    return Attachment(data=data, headers=headers, **texts)


def _base64(value: object, field: str) -> str:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _mistyped(value, field, "bytes")
    return b64encode(value).decode("ascii")


def _octets(value: object, field: str) -> bytes:
    try:
        return b64decode(_text(value, field), validate=True)
    except (Base64Error, ValueError):
        raise MessageError(f"{field}: holds what is not base64.", field=field) from None


def _json(value: object, field: str) -> object:
    """A template's value, if it is the same after a way through JSON."""
    if value is None or type(value) in (bool, int):
        return value
    if type(value) is str or is_lazy(value):
        return plain_text(value, field)
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [_json(one, field) for one in value]
    if isinstance(value, Mapping):
        return {_key(name, field): _json(one, field) for name, one in value.items()}
    raise MessageError(
        f"{field}: holds a {type(value).__name__}, which JSON cannot carry; "
        "give text, numbers, lists and dicts of these, or render the message first.",
        field=field,
    )


def _key(name: object, field: str) -> str:
    if type(name) is not str:
        raise _mistyped(name, field, "text as the name of a value")
    return plain_text(name, field)


def _context(value: object, field: str) -> dict[str, object]:
    return {_key(name, field): _json(one, field) for name, one in _mapping(value, field).items()}


def _context_read(value: object, field: str) -> dict[str, object]:
    return {_text(name, field): one for name, one in _mapping(value, field).items()}


_Form = tuple[Callable[[object, str], object], Callable[[object, str], object]]

_TEXT: _Form = plain_text, _text
_ADDRESS: _Form = _address, _address_read
_ADDRESSES: _Form = _addresses, _addresses_read
_TEXTS: _Form = _texts, _texts_read
_NAMED: _Form = _text_by_name, _text_by_name_read

#: How each field is written and read.
_FORMS: dict[str, _Form] = {
    "subject": _TEXT,
    "sender": _ADDRESS,
    "recipients": _ADDRESSES,
    "cc": _ADDRESSES,
    "bcc": _ADDRESSES,
    "reply_to": (_reply_to, _reply_to_read),
    "body": _TEXT,
    "html": _TEXT,
    "alts": (_versions, _text_by_name_read),
    "attachments": (_files, _files_read),
    "date": (_number, _number),
    "charset": _TEXT,
    "extra_headers": (_headers, _headers_read),
    "mail_options": _TEXTS,
    "rcpt_options": _TEXTS,
    "msgId": _TEXT,
    "envelope_from": _ADDRESS,
    "tags": _TEXTS,
    "metadata": _NAMED,
    "priority": _TEXT,
    "transport": _TEXT,
    "list_unsubscribe": _TEXTS,
    "list_unsubscribe_post": (_flag, _flag),
    "template": _TEXT,
    "context": (_context, _context_read),
    "locale": _TEXT,
    "entity": (_base64, _octets),
}
