"""Strings as callers hand them in: lazy, of a subclass, with line breaks where none may be."""

from __future__ import annotations

import re
from binascii import a2b_base64, a2b_qp
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ..errors import BadHeaderError, MessageError

#: Headers in order.
Pairs: TypeAlias = tuple[tuple[str, str], ...]

#: The longest piece of a header without a space, and the longest name, which together stay below the 998 octets
#: that RFC 5322 2.1.1 allows a line.
WORD_MAX = 900
_NAME_MAX = 76

_header_name = re.compile("[!-9;-~]+")  # RFC 5322 3.6.8
# All that some reader of headers takes for the end of a line or of the string, and the other C0 controls.
_controls = re.compile("[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
# As loosely as readers take RFC 2047: anywhere in the text, spaces within.
_encoded_word = re.compile(r"=\?([^?]*)\?([BbQq])\?([^?]*)\?=")


def plain_text(value: object, field: str) -> str:
    """An exact ``str`` that UTF-8 can carry.

    :param value: text, or anything lazy that becomes text (Flask-Babel's strings).
    :param field: the message's field, for the error.
    :raises MessageError: bytes, None, or half a surrogate pair.
    """
    if type(value) is str and value.isascii():
        return value
    if value is None or isinstance(value, bytes | bytearray | memoryview):
        raise MessageError(
            f"{field}: text is needed here, not {type(value).__name__}.", field=field
        )
    # Not the subclass: Markup would escape what is later joined to it.
    text = value if type(value) is str else str.__str__(str(value))
    if not _encodable(text):
        raise MessageError(
            f"{field}: holds half a surrogate pair, which no charset can carry; "
            "decode the text without errors='surrogateescape'.",
            field=field,
        )
    return text


def one_line(value: object, field: str) -> str:
    """Text that may stand in a header or an SMTP command; tabs become spaces.

    :raises BadHeaderError: it holds a line break, NUL or another control character.
    """
    if type(value) is str and value.isprintable():
        return value
    text = plain_text(value, field).replace("\t", " ")
    found = _controls.search(text)
    if found:
        raise BadHeaderError(
            f"{field}: holds the control character U+{ord(found[0]):04X}, "
            "which could start a header of its own; take it out.",
            field=field,
        )
    return text


def header_pairs(given: Mapping[str, str] | Iterable[tuple[str, str]] | None, field: str) -> Pairs:
    """Further headers, checked for what would break a line or the grammar."""
    if not given:
        return ()
    pairs = []
    for written, content in given.items() if isinstance(given, Mapping) else given:
        name, value = one_line(written, field), one_line(content, field).strip()
        if "=?" in value:
            check_encoded_words(value, field)
        if not _header_name.fullmatch(name) or len(name) > _NAME_MAX:
            raise MessageError(
                f"{field}: {name[:100]!r} is not a header's name; write 'X-Something'.", field=field
            )
        if value.isascii() and max(map(len, value.split(" "))) > WORD_MAX:
            raise MessageError(
                f"{field}: {name!r} holds more than {WORD_MAX} characters without a space, too many for a line; "
                "put spaces where its grammar allows them.",
                field=field,
            )
        pairs.append((name, value))
    return tuple(pairs)


def check_encoded_words(value: str, field: str) -> None:
    """Look through RFC 2047 encoded words at what readers will see.

    :raises BadHeaderError: they hide a control character.
    """
    for label, encoding, text in _encoded_word.findall(value):
        try:
            quoted = encoding in "Qq"
            octets = a2b_qp(text.encode(), header=True) if quoted else a2b_base64(f"{text}==")
        except ValueError:
            continue  # no reader can decode it
        try:
            hidden = octets.decode(label.partition("*")[0])  # RFC 2231 5: charset*language
        except (LookupError, UnicodeError):
            hidden = octets.decode("latin-1")
        one_line(hidden, field)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
