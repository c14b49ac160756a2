"""Who decides whether something was smuggled in: the bytes read strictly, and as parsers read them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.policy import default
from functools import cache

from .corpus import STRANGER

_ALWAYS = ("from", "date", "message-id", "mime-version", "content-type")
_FIELDS = (
    *_ALWAYS,
    *("to", "cc", "reply-to", "subject", "content-transfer-encoding"),
    *("list-unsubscribe", "list-unsubscribe-post", "x-own"),
)
_PART_FIELDS = (
    *("content-type", "content-transfer-encoding", "content-disposition", "content-id"),
    *("content-description", "x-own"),
)
_FIELD = rb"([!-9;-~]+): [^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n"
_field, _head = re.compile(_FIELD), re.compile(rb"(?:%b)+" % _FIELD)
_blank_fold = re.compile(rb"\r\n[ \t]+\r\n")
_own_id = re.compile(rb'boundary="=_mixed_([0-9a-f]{32})"')
_date = re.compile(rb"(\r\nDate: )[^\r\n]+\r\n")
_encoded_word = re.compile(r"=\?[^?\s]+\?[bqBQ]\?[^?]*\?=")
_fold = re.compile(r"\r?\n(?=[ \t])")
_controls = re.compile("[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")

# The policy that counts. Most fields are the same in most messages, and slow to parse.
_policy = default.clone(header_factory=cache(HeaderRegistry()))


@dataclass(frozen=True)
class Asked:
    """What the caller asked for.

    :param header: a header besides the usual ones, "" for none.
    :param leaves: how many parts the message has that are no multipart.
    :param stranger: whether an address may be the stranger's, being whatever somebody wrote.
    """

    header: str = ""
    leaves: int = 3
    stranger: bool = False


def findings(content: bytes, asked: Asked) -> list[str]:
    """What is in the bytes of a message that nobody asked for; empty for a good one."""
    return list(_findings(_settled(content), asked))


def _settled(content: bytes) -> bytes:
    """The message with one id and one date for all, which makes most of those that come by several doors the same."""
    if found := _own_id.search(content):
        content = content.replace(found[1], b"0" * 32)
    return _date.sub(rb"\1Tue, 1 Jul 2025 08:52:37 +0000\r\n", content)


@cache
def _findings(content: bytes, asked: Asked) -> tuple[str, ...]:
    message = message_from_bytes(content, policy=_policy)
    return (
        *_in_the_lines(content),
        *_in_the_head(content, message, asked),
        *(found for part in _walk(message) for found in _in_the_values(part)),
        *_in_the_mailboxes(message, asked),
        *_in_the_parts(message, asked),
    )


def _in_the_lines(content: bytes) -> Iterator[str]:
    for line in content.split(b"\r\n"):
        if re.search(rb"[\r\n\0]", line):
            yield f"a bare line end or NUL in {line!r}"
        if len(line) > 998:
            yield f"a line of {len(line)} octets"


def _in_the_head(content: bytes, message: EmailMessage, asked: Asked) -> Iterator[str]:
    head = content.partition(b"\r\n\r\n")[0] + b"\r\n"
    if not _head.fullmatch(head):
        yield f"what is no field stands in the head {head!r}"
    if _blank_fold.search(head):
        yield "a folded line is blank, at which some readers end the head"
    names = Counter(name.decode().lower() for name in _field.findall(head))
    if names != _names(message):
        yield f"a parser reads other fields than stand there: {_names(message)}"
    yield from (f"the field {name}" for name in names - _allowed(_FIELDS, asked))
    yield from (f"the head ends before {name}" for name in _ALWAYS if name not in names)


def _names(part: EmailMessage) -> Counter[str]:
    return Counter(name.lower() for name, _ in part.raw_items())


def _allowed(usual: tuple[str, ...], asked: Asked) -> Counter[str]:
    return Counter(usual) + Counter([asked.header.lower()] if asked.header else ())


def _in_the_values(part: EmailMessage) -> Iterator[str]:
    for name, raw in part.raw_items():
        yield from _in_a_value(name.lower(), str(raw))


@cache
def _in_a_value(name: str, raw: str) -> tuple[str, ...]:
    """Control characters, and so line ends, that come to light when a reader decodes what stands there."""
    try:
        read = _policy.header_fetch_parse(name, raw)
    except (ValueError, IndexError) as error:  # how the parser itself fails
        return (f"{name} cannot be read: {raw!r} {error}",)
    shown = [str(read), *map(_decoded, _encoded_word.findall(raw))]
    for parameter, text in getattr(read, "params", {}).items():
        shown += [parameter, text]
    hidden = (text for text in shown if _controls.search(_fold.sub("", text)))
    return tuple(f"{name} is read as {text!r}" for text in hidden)


def _decoded(word: str) -> str:
    try:
        return "".join(
            piece if isinstance(piece, str) else piece.decode(charset or "ascii", "replace")
            for piece, charset in decode_header(word)
        )
    except (HeaderParseError, LookupError, ValueError):
        return ""


def _in_the_mailboxes(message: EmailMessage, asked: Asked) -> Iterator[str]:
    for name in ("from", "to", "cc", "reply-to"):
        try:
            mailboxes = message[name].addresses if name in message else ()
        except (ValueError, IndexError):
            continue  # which _in_a_value has found
        if len(mailboxes) > 1:
            yield f"{len(mailboxes)} mailboxes in {name}"
        if not asked.stranger and any(mailbox.addr_spec == STRANGER for mailbox in mailboxes):
            yield f"the stranger in {name}"
    links = str(message["list-unsubscribe"] or "")
    if links.count("<") > 2 or links.count("<") != links.count(">"):
        yield f"other addresses to unsubscribe at: {links}"


def _in_the_parts(message: EmailMessage, asked: Asked) -> Iterator[str]:
    leaves = 0
    for part in _walk(message):
        multipart = part.get_content_maintype() == "multipart"
        leaves += not multipart
        if part is not message:
            extra = _names(part) - _allowed(_PART_FIELDS, asked)
            yield from (f"the field {name} of a part" for name in extra)
        if (part.preamble or "").strip() or (part.epilogue or "").strip():
            yield "text before or after the parts of a multipart"
    if leaves > asked.leaves:
        yield f"{leaves} parts where {asked.leaves} were asked for"


def _walk(message: EmailMessage) -> Iterator[EmailMessage]:
    """The message and its parts, but not those of a message that is attached."""
    yield message
    if message.get_content_maintype() == "multipart" and message.is_multipart():
        for part in message.get_payload():
            yield from _walk(part)
