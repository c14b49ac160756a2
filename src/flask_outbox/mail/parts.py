"""Attachments sealed: the file checked and made a part."""

from __future__ import annotations

import re
import unicodedata

from ..errors import BadHeaderError, MessageError
from .letter import Part
from .message import Attachment, is_lazy
from .strings import Pairs, check_encoded_words, header_pairs, one_line, plain_text

_FIELD = "attachments"

_MADE = frozenset({"content-type", "content-transfer-encoding", "content-disposition"})

# Far more than any has, and well below the limit of a line.
_MEDIA_TYPE_MAX = 500

# RFC 2045 5.1
_WORD = r"[A-Za-z0-9!#$%&'*+.^_`{|}~\-]+"
_PARAMETER = rf';\s*({_WORD})=(?:({_WORD})|"((?:[^"\\]|\\.)*)")\s*'
_word = re.compile(_WORD)
_parameter = re.compile(_PARAMETER)
_media_type = re.compile(rf"({_WORD}/{_WORD})\s*((?:{_PARAMETER})*);?\s*")
# Words that look encoded (RFC 2047 5 bans them here) would be decoded by some readers.
_content_id = re.compile(r"<?((?:(?!=\?)[^<>\s])+)>?")
# The controls of strings.py in the percent-encoding of RFC 2231.
_hidden = re.compile("%(?:[01][0-9A-F]|7F|C2%85|E2%80%A[89])", re.IGNORECASE)
_spaces = re.compile(r"\s+")


def seal_part(attachment: Attachment, *, ascii_name: bool) -> Part:
    """Check an attachment and make it a part.

    :param ascii_name: bring the file's name down to ASCII.
    """
    if not hasattr(attachment, "content_type"):
        raise MessageError(
            f"{_FIELD}: a {type(attachment).__name__} is no Attachment; message.attach(…) makes one.",
            field=_FIELD,
        )
    content_type, parameters = media_type(attachment.content_type, _FIELD)
    data = attachment.data
    if isinstance(data, str) or is_lazy(data):
        data, parameters = _encoded(data, content_type, parameters)
    elif not isinstance(data, bytes | bytearray | memoryview):
        raise MessageError(
            f"{_FIELD}: the data is {type(data).__name__}, not bytes or text; read the file first.",
            field=_FIELD,
        )
    disposition = one_line(attachment.disposition, _FIELD)
    if not _word.fullmatch(disposition):
        raise MessageError(f"{_FIELD}: the disposition is 'attachment' or 'inline'.", field=_FIELD)
    headers, content_id = _part_headers(attachment)
    filename = one_line(attachment.filename or "", _FIELD).strip()
    if filename and ascii_name:
        filename = _ascii_name(filename)
    return Part(filename, content_type, bytes(data), disposition, content_id, headers, parameters)


def media_type(given: str, field: str) -> tuple[str, Pairs]:
    """``type/subtype`` in small letters, and its parameters."""
    text = one_line(given, field).strip()
    found = _media_type.fullmatch(text)
    if found is None or not text.isascii() or len(text) > _MEDIA_TYPE_MAX:
        raise MessageError(
            f"{field}: {text[:100]!r} is not a content type; write one like 'application/pdf'.",
            field=field,
        )
    parameters = tuple(
        (name, word or re.sub(r"\\(.)", r"\1", quoted))
        for name, word, quoted in _parameter.findall(found[2])
    )
    check_encoded_words(text, field)
    if _hidden.search("".join(value for name, value in parameters if "*" in name)):
        raise BadHeaderError(
            f"{field}: a parameter of {text[:100]!r} hides a control character; take it out.",
            field=field,
        )
    return found[1].lower(), parameters


def _encoded(text: object, content_type: str, parameters: Pairs) -> tuple[bytes, Pairs]:
    charset = next((value for name, value in parameters if name.lower() == "charset"), "")
    if not charset and content_type.startswith("text/"):
        parameters = (*parameters, ("charset", "utf-8"))
    try:
        return plain_text(text, _FIELD).encode(charset or "utf-8"), parameters
    except (LookupError, UnicodeEncodeError):
        raise MessageError(
            f"{_FIELD}: {charset[:100]!r} cannot write this text; give bytes.",
            field=_FIELD,
        ) from None


def _part_headers(attachment: Attachment) -> tuple[Pairs, str]:
    kept, content_id = [], ""
    for name, value in header_pairs(attachment.headers, _FIELD):
        key = name.lower()
        if key in _MADE:
            raise MessageError(
                f"{_FIELD}: {name!r} is made by the attachment itself; use content_type, filename or disposition.",
                field=_FIELD,
            )
        if key != "content-id":
            kept.append((name, value))
        elif value.isascii() and (found := _content_id.fullmatch(value)):
            content_id = found[1]
        else:
            raise MessageError(
                f"{_FIELD}: {value[:100]!r} is not a Content-ID; write '<logo>'.",
                field=_FIELD,
            )
    return tuple(kept), content_id


def _ascii_name(filename: str) -> str:
    bare = unicodedata.normalize("NFKD", filename).encode("ascii", "ignore").decode("ascii")
    return _spaces.sub(" ", bare).strip() or "attachment"
