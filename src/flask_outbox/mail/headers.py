"""Header fields as they stand in the bytes: encoded, quoted and folded.

Lines are folded at 76 characters wherever there is a space to fold at, which keeps both RFC 5322's limit of 78
and RFC 2047's of 76 for lines with encoded words.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Callable, Iterable

from .address import Address
from .strings import WORD_MAX

_LINE_MAX = 76

# An encoded word is at most 75 characters (RFC 2047 2), 12 of which are "=?utf-8?q?" and "?=".
_ENCODED_MAX, _ENCODED_FRAME = 75, 12
# A longer name in quotes would be folded within the quotes, which not every reader undoes.
_QUOTED_NAME_MAX = 60
# A parameter's line: a space, "filename*99*=utf-8''" and ";" besides.
_PARAMETER_MAX = 52

# Words of RFC 5322 atoms, which need no quotes.
_atoms = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+)*")

_encoded_run = re.compile(r"=\?utf-8\?[qb]\?[^?]*\?=(?:\s+=\?utf-8\?[qb]\?[^?]*\?=)*")


def _escapes(safe: str, escape: str) -> dict[int, str]:
    """A table from octets, read as Latin-1, to what stands for them."""
    return {
        octet: chr(octet) if chr(octet) in safe else f"{escape}{octet:02X}" for octet in range(256)
    }


_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# RFC 2047 5 (3): what may stand in a phrase, and so everywhere.
_Q = _escapes(_ALNUM + "!*+-/", "=") | {0x20: "_"}
# RFC 2231 7: attribute-char.
_PERCENT = _escapes(_ALNUM + "!#$&+-.^_`{|}~", "%")


def unstructured(name: str, text: str) -> str:
    """A field of free text. What looks like an encoded word in it is encoded, so that it is read as it was written."""
    if text.isascii() and "=?" not in text:
        if len(name) + 2 + len(text) <= _LINE_MAX:
            return f"{name}: {text}\r\n"
        words = text.split(" ")
        if max(map(len, words)) <= WORD_MAX:
            return folded(name, words)
    return folded(name, _encoded_words(text, _LINE_MAX - 2 - len(name)))


def verbatim(name: str, value: str) -> str:
    """A field whose value is kept as the caller wrote it, since it may have a grammar of its own.

    Encoded are the words from the first to the last one beyond ASCII, so that ``Café <cafe.example.org>`` keeps what
    stands in angle brackets.
    """
    words = value.split(" ")
    if value.isascii():
        return folded(name, words)
    if "=?" in value:
        return unstructured(name, value)
    beyond = [position for position, word in enumerate(words) if not word.isascii()]
    first, end = beyond[0], beyond[-1] + 1
    room = _ENCODED_MAX if first else _LINE_MAX - 2 - len(name)
    words[first:end] = _encoded_words(" ".join(words[first:end]), room)
    return folded(name, words)


def mailboxes(name: str, addresses: Iterable[Address]) -> str:
    """A field of addresses."""
    words: list[str] = []
    for address in addresses:
        if words:
            words[-1] += ","
        parts = mailbox(address)
        whole = " ".join(parts)
        # Folded between mailboxes rather than within one.
        words.extend([whole] if len(whole) < _LINE_MAX - 1 else parts)
    return folded(name, words)


def mailbox(address: Address) -> list[str]:
    """One address as the words between which it may be folded."""
    name = address.name
    if not name:
        return [address.addr]
    spec = f"<{address.addr}>"
    if not name.isascii() or "=?" in name or len(name) > _QUOTED_NAME_MAX:
        return [*_encoded_words(name, _QUOTED_NAME_MAX), spec]
    if _atoms.fullmatch(name):
        return [name, spec]
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return [f'"{quoted}"', spec]


def parameterised(name: str, value: str, parameters: Iterable[tuple[str, str]]) -> str:
    """A field with parameters, ``Content-Type: text/calendar; method="REQUEST"``."""
    words = [value]
    for attribute, content in parameters:
        for word in _parameter(attribute, content):
            words[-1] += ";"
            words.append(word)
    return folded(name, words)


def in_charset(fields: str, charset: str) -> str:
    """Header fields with their encoded words in another charset than UTF-8, where it can write them."""
    from email.header import Header, decode_header, make_header

    def again(found: re.Match[str]) -> str:
        text = str(make_header(decode_header(found[0])))
        try:
            return Header(text, charset, header_name="Reply-To").encode(linesep="\r\n")
        except UnicodeError:
            return found[0]

    return _encoded_run.sub(again, fields)


def folded(name: str, words: list[str]) -> str:
    """A field of words with single spaces between, folded at some of them.

    An empty word stands for one more space, and never alone on a line, which would end the field.
    """
    lines = []
    line = f"{name}: {words[0]}"
    for word in words[1:]:
        if len(line) + 1 + len(word) > _LINE_MAX and not line.isspace():
            lines.append(line)
            line = f" {word}"
        else:
            line = f"{line} {word}"
    lines.append(line)
    return "\r\n".join(lines) + "\r\n"


def _encoded_words(text: str, first: int) -> list[str]:
    """RFC 2047: the text in Q or B, whichever is shorter, cut between characters.

    :param first: how long the first word may be; the others may have all 75 characters.
    """
    octets = text.encode()
    quoted = _translated(text, _Q)
    room = min(first, _ENCODED_MAX) - _ENCODED_FRAME, _ENCODED_MAX - _ENCODED_FRAME
    if len(quoted) <= -(-len(octets) // 3) * 4:
        if len(quoted) <= room[0]:
            return [f"=?utf-8?q?{quoted}?="]
        pieces = _cut(text, lambda character: len(_translated(character, _Q)), *room)
        return [f"=?utf-8?q?{_translated(piece, _Q)}?=" for piece in pieces]
    pieces = _cut(
        text, lambda character: len(character.encode()), *(size // 4 * 3 for size in room)
    )
    return [f"=?utf-8?b?{b2a_base64(piece.encode(), newline=False).decode()}?=" for piece in pieces]


def _parameter(name: str, value: str) -> list[str]:
    """RFC 2231 where a plain quoted string would not be read alike everywhere."""
    if (
        value.isascii()
        and not set(value) & {'"', "\\"}
        and "=?" not in value
        and len(value) <= WORD_MAX
    ):
        return [f'{name}="{value}"']
    pieces = [
        _translated(piece, _PERCENT)
        for piece in _cut(
            value,
            lambda character: len(_translated(character, _PERCENT)),
            _PARAMETER_MAX,
            _PARAMETER_MAX,
        )
    ]
    pieces[0] = f"utf-8''{pieces[0]}"
    if len(pieces) == 1:
        return [f"{name}*={pieces[0]}"]
    return [f"{name}*{number}*={piece}" for number, piece in enumerate(pieces)]


def _translated(text: str, table: dict[int, str]) -> str:
    return text.encode().decode("latin-1").translate(table)


def _cut(text: str, size: Callable[[str], int], first: int, others: int) -> list[str]:
    """The text in pieces of at most the given sizes."""
    pieces = []
    start = used = 0
    room = first
    for position, character in enumerate(text):
        width = size(character)
        if used + width > room and position > start:
            pieces.append(text[start:position])
            start, used, room = position, 0, others
        used += width
    pieces.append(text[start:])
    return pieces
