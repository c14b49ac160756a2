"""The composer: a letter as the bytes that travel. Pure: the same letter gives the same bytes at every call.

::

    multipart/mixed              where there are attachments
    ├── multipart/alternative    where there is more than one version of the text
    │   ├── text/plain
    │   └── multipart/related    where the HTML shows parts of its own
    │       ├── text/html
    │       └── what it names as cid:…
    └── the attachments

Everything is sent in seven bits, so that no server on the way has to convert it; only a mail that is attached may not
be encoded, and has the eight bits it came with. Lines end with CRLF, and dots at their beginning are the transport's
business.
"""

from __future__ import annotations

import re
from binascii import b2a_qp
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from .content import LARGE, Base64, Chunk, Composed, Content, blocks
from .headers import in_charset, mailboxes, parameterised, unstructured, verbatim
from .letter import Letter, Part

# RFC 5322 2.1.1, without the CRLF.
_TEXT_LINE_MAX = 998

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_line_ends = re.compile(r"\r\n?|\n")
# A line that b2a_qp made 77 characters long by escaping the space at its end.
_overlong = re.compile(rb"(?m)^([^\r\n]{74})(=20|=09)\r$")


class _Entity(NamedTuple):
    """A MIME entity: its header fields, each with its line end, and its content in chunks with line ends between."""

    header: str
    content: list[Chunk]
    eight_bit: bool = False


def compose(letter: Letter) -> bytes:
    """The message in the form of RFC 5322, ready for the DATA command but for the dots."""
    if letter.raw is not None:
        return _complete(letter.raw)
    # Most have no attachments, and nothing else is encoded late.
    return b"\r\n".join(blocks(_chunks(letter)) if letter.attachments else _chunks(letter))  # type: ignore[arg-type]


def composed(letter: Letter) -> Composed:
    """The same; a large one as what makes it while it is read, so that it is in memory no second time."""
    if letter.size <= LARGE:
        return compose(letter)
    return Content(_chunks(letter) if letter.raw is None else [_complete(letter.raw)])


def _complete(raw: bytes) -> bytes:
    raw = _with_crlf(raw)
    return raw if raw.endswith(b"\r\n") else raw + b"\r\n"


def _chunks(letter: Letter) -> list[Chunk]:
    entity = _message(letter)
    chunks = [f"{_fields(letter)}{entity.header}".encode(), *entity.content]
    last = chunks[-1]
    # What is encoded late never stands last: a boundary comes after it.
    if type(last) is bytes and last[-2:] != b"\r\n":
        chunks.append(b"")
    return chunks


def around(letter: Letter, entity: bytes) -> bytes:
    """The letter's header before content that comes ready-made."""
    return _fields(letter).encode() + entity


def needs_smtputf8(letter: Letter, to: Iterable[str]) -> bool:
    """Whether the letter can only be given to a server with SMTPUTF8 (RFC 6531).

    :param to: the recipients it is given for; those of the header count in any case.
    """
    if not (letter.envelope_from.isascii() and all(map(str.isascii, to))):
        return True
    if letter.raw is not None:
        header = letter.raw.find(b"\r\n\r\n")
        return not letter.raw[: header if header >= 0 else None].isascii()
    shown = (letter.sender, *letter.to, *letter.cc, *letter.reply_to)
    return any(address.needs_smtputf8 for address in shown)


def _fields(letter: Letter) -> str:
    fields = [mailboxes("From", (letter.sender,))]
    if letter.to:
        fields.append(mailboxes("To", letter.to))
    elif not letter.cc:
        # RFC 5322 allows neither; what filters expect is a group of no one.
        fields.append("To: undisclosed-recipients:;\r\n")
    if letter.cc:
        fields.append(mailboxes("Cc", letter.cc))
    if letter.reply_to:
        fields.append(mailboxes("Reply-To", letter.reply_to))
    if letter.subject:
        fields.append(unstructured("Subject", letter.subject))
    fields.append(
        f"Date: {_date(letter.date)}\r\nMessage-ID: {letter.message_id}\r\nMIME-Version: 1.0\r\n"
    )
    fields.extend(verbatim(name, value) for name, value in letter.headers)
    head = "".join(fields)
    return head if letter.charset in ("utf-8", "us-ascii") else in_charset(head, letter.charset)


def _date(seconds: int) -> str:
    # Not strftime, which writes the locale's names.
    at = datetime.fromtimestamp(seconds, UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return (
        f"{day}, {at.day:02} {month} {at.year:04} {at.hour:02}:{at.minute:02}:{at.second:02} +0000"
    )


def _message(letter: Letter) -> _Entity:
    related: list[Part] = []
    attached: list[Part] = []
    for part in letter.attachments:
        (related if _is_shown(part, letter.html) else attached).append(part)
    versions = _versions(letter, related)
    if not versions and not attached:
        versions = [_text("plain", "", letter)]
    body = versions if len(versions) < 2 else [_multipart("alternative", versions, letter)]
    if not attached:
        return body[0]
    return _multipart("mixed", [*body, *(_attachment(part, letter) for part in attached)], letter)


def _is_shown(part: Part, html: str | None) -> bool:
    """Whether the HTML names it by a URL of RFC 2392, where the @ may be written in percent."""
    if not (part.content_id and html):
        return False
    url = f"cid:{part.content_id}"
    return url in html or url.replace("@", "%40") in html


def _versions(letter: Letter, related: list[Part]) -> list[_Entity]:
    """The text in all its versions, the plainest first."""
    versions = [] if letter.text is None else [_text("plain", letter.text, letter)]
    html = () if letter.html is None else (("html", letter.html),)
    for subtype, content in letter.alternatives or html:
        entity = _text(subtype, content, letter)
        if subtype == "html" and related:
            parts = [_attachment(part, letter) for part in related]
            entity = _multipart("related", [entity, *parts], letter, '; type="text/html"')
        versions.append(entity)
    return versions


def _multipart(
    subtype: str, entities: list[_Entity], letter: Letter, parameters: str = ""
) -> _Entity:
    # No boundary begins with another. Base64 and quoted-printable never hold "=_"; see _can_stand for the rest.
    boundary = f"=_{subtype}_{letter.id}"
    content: list[Chunk] = []
    for entity in entities:
        content.append(f"--{boundary}\r\n{entity.header}".encode())
        content.extend(entity.content)
    content.append(f"--{boundary}--".encode())
    header = f'Content-Type: multipart/{subtype}{parameters};\r\n boundary="{boundary}"\r\n'
    eight_bit = any(entity.eight_bit for entity in entities)
    if eight_bit:
        # RFC 2045 6.4: what holds eight bits says so.
        header += "Content-Transfer-Encoding: 8bit\r\n"
    return _Entity(header, content, eight_bit)


def _text(subtype: str, text: str, letter: Letter) -> _Entity:
    lines = _line_ends.sub("\r\n", text) if "\r" in text else text.replace("\n", "\r\n")
    data = lines.encode(letter.charset)
    if data.isascii() and _can_stand(data, letter):
        encoding = "7bit"
    else:
        encoding, data = _shorter(data)
    header = f'Content-Type: text/{subtype}; charset="{letter.charset}"\r\nContent-Transfer-Encoding: {encoding}\r\n'
    return _Entity(header, [data])


def _attachment(part: Part, letter: Letter) -> _Entity:
    content_type, parameters = part.content_type, part.parameters
    encoding, content = "base64", None
    if content_type.startswith(("message/", "multipart/")):
        # RFC 2045 6.4 allows no encoding here: what would need one travels as a file.
        encoding, content = _attached_mail(part, letter)
        if content is None:
            content_type, parameters = "application/octet-stream", ()
    filename = [("filename", part.filename)] if part.filename else []
    header = [
        parameterised("Content-Type", content_type, parameters),
        f"Content-Transfer-Encoding: {encoding}\r\n",
        parameterised("Content-Disposition", part.disposition, filename),
    ]
    if part.content_id:
        header.append(f"Content-ID: <{part.content_id}>\r\n")
    header.extend(verbatim(name, value) for name, value in part.headers)
    chunk = Base64(part.data) if content is None else content
    return _Entity("".join(header), [chunk], encoding == "8bit")


def _attached_mail(part: Part, letter: Letter) -> tuple[str, bytes | None]:
    """The encoding and content of a message/… or multipart/… part; base64 and None where it cannot stand as it is."""
    data = _with_crlf(part.data)
    if part.content_type.startswith("message/") and _can_stand(data, letter):
        if data.isascii():
            return "7bit", data
        if part.content_type == "message/rfc822" and data.partition(b"\r\n\r\n")[0].isascii():
            return "8bit", data
    return "base64", None


def _can_stand(data: bytes, letter: Letter) -> bool:
    """Whether it can travel as it is. What holds the letter's id cannot, since it could hold a boundary."""
    return b"\0" not in data and letter.id.encode() not in data and _short_lines(data)


def _short_lines(data: bytes) -> bool:
    start = 0
    while len(data) - start > _TEXT_LINE_MAX:
        end = data.rfind(b"\r\n", start, start + _TEXT_LINE_MAX + 2)
        if end < 0:
            return False
        start = end + 2
    return True


def _shorter(data: bytes) -> tuple[str, bytes]:
    """Text in quoted-printable, which people can read, or in base64 where that is shorter."""
    encoded_size = -(-len(data) // 57) * 2 + -(-len(data) // 3) * 4
    # A NUL is not text; some readers of quoted-printable stop at it.
    if b"\0" not in data:
        quoted = _quoted_printable(data)
        if len(quoted) <= encoded_size:
            return "quoted-printable", quoted
    return "base64", b"\r\n".join(Base64(data))


def _quoted_printable(data: bytes) -> bytes:
    quoted = b2a_qp(data)
    if b"\n" not in data:
        # b2a_qp ends its own lines as the text does, and with LF where there is nothing to go by.
        return quoted.replace(b"\n", b"\r\n")
    if b" \r\n" in data or b"\t\r\n" in data:
        return _overlong.sub(rb"\1=\r\n\2\r", quoted)
    return quoted


def _with_crlf(data: bytes) -> bytes:
    if data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r"):
        return data  # a large one is not copied
    return re.sub(rb"\r\n?|\n", b"\r\n", data)
