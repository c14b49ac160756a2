"""Messages of the standard library turned into drafts.

Their content is taken apart into texts and files. One that our fields cannot express (signed, encrypted, a report,
parts with headers of their own) is kept whole, as the draft's ``entity``. So nothing is lost, but for what no reader
shows: the text around the parts of a multipart, and which parts had no Content-Disposition.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from datetime import UTC
from email import policy
from email.encoders import encode_base64
from email.errors import InvalidHeaderDefect, MessageDefect
from email.errors import MessageError as StdlibMessageError
from email.header import Header
from email.headerregistry import AddressHeader, BaseHeader, DateHeader
from email.message import Message as StdlibMessage
from email.utils import collapse_rfc2231_value
from typing import cast

from ..errors import BadHeaderError, MessageError
from .address import Written
from .message import Attachment, Message
from .strings import check_encoded_words, one_line

_MAILBOXES = {
    "from": "sender",
    "to": "recipients",
    "cc": "cc",
    "bcc": "bcc",
    "reply-to": "reply_to",
}

# Where the others stand, for errors.
_FIELDS = _MAILBOXES | {"subject": "subject", "date": "date", "message-id": "msgId"}

# The headers of an entity that the composer writes from what the draft holds.
_COMPOSED = frozenset(
    {"content-type", "content-transfer-encoding", "content-disposition", "mime-version"}
)

_fold = re.compile(r"\r?\n(?=[ \t])")


def from_stdlib(foreign: StdlibMessage) -> Message:
    """The draft that says the same. The message stays as it is."""
    _check_headers(foreign)
    message = Message()
    kept: list[tuple[str, str]] = []
    for name, value in foreign.raw_items():
        key = name.lower()
        if key.startswith("resent-") or key == "dkim-signature":
            raise _untransferable(name)
        if key in _MAILBOXES:
            _take_mailboxes(message, name, value)
        elif key == "subject":
            message.subject = str(_parsed(name, value))
        elif key == "date":
            message.date = _seconds(_parsed(name, value))
        elif key == "message-id":
            message.msgId = _unfolded(name, value)
        elif key != "mime-version" and not key.startswith("content-"):
            kept.append((name, _unfolded(name, value)))
        if key == "sender":
            # Whom smtplib's send_message names in MAIL FROM.
            message.envelope_from = next(iter(_mailboxes(name, value)), None)
    message.extra_headers = kept or None
    try:
        content = _taken_apart(foreign)
    except InexpressibleError:
        message.entity = _entity(foreign)
    else:
        message.body, message.alts, message.attachments = (
            content.text,
            content.versions,
            content.files,
        )
    return message


def _check_headers(foreign: StdlibMessage) -> None:
    """Refuse control characters wherever a reader would find them, because some content is kept as it stands."""
    for entity in foreign.walk():
        for name, value in entity.raw_items():
            check_encoded_words(_unfolded(name, value), _field(name))
        for name in ("Content-Type", "Content-Disposition"):
            for value in _parameters(entity, name).values():
                one_line(value, name)


def _untransferable(name: str) -> MessageError:
    cure = (
        "sign by MAIL_DKIM_KEY, over what is really sent"
        if name.lower() == "dkim-signature"
        else "set From, To and Cc to whom it goes now"
    )
    return MessageError(
        f"{name}: cannot be kept when the message is sent anew; {cure}.", field=name
    )


def _take_mailboxes(message: Message, name: str, value: object) -> None:
    mailboxes = _mailboxes(name, value)
    attribute = _MAILBOXES[name.lower()]
    if attribute != "sender":
        setattr(message, attribute, [*(getattr(message, attribute) or ()), *mailboxes])
    elif len(mailboxes) == 1 and message.sender is None:
        message.sender = mailboxes[0]
    else:
        raise MessageError("From: exactly one sender is needed here.", field="sender")


def _mailboxes(name: str, value: object) -> list[Written]:
    header = cast("AddressHeader", _parsed(name, value))
    defects = cast("BaseHeader", header).defects
    invalid = [defect for defect in defects if isinstance(defect, InvalidHeaderDefect)]
    if invalid:
        raise MessageError(
            f"{name}: cannot be read as addresses ({invalid[0]}); write 'Name <name@example.org>'.",
            field=_field(name),
        )
    found: list[Written] = []
    for group in header.groups:
        if group.display_name is not None and group.addresses:
            raise MessageError(
                f"{name}: the group {group.display_name!r} is not mailed; give the addresses alone.",
                field=_field(name),
            )
        found.extend((address.display_name, address.addr_spec) for address in group.addresses)
    return found


def _seconds(header: BaseHeader) -> float:
    moment = cast("DateHeader", header).datetime
    if moment is None:
        raise MessageError(
            "Date: not a date; write it by email.utils.format_datetime().", field="date"
        )
    # "-0000" is UTC of an unknown zone (RFC 5322 3.3).
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _parsed(name: str, value: object) -> BaseHeader:
    """The header as the standard library's newer classes see it, its encoded words decoded."""
    if isinstance(value, BaseHeader):
        return value
    text = _unfolded(name, value)
    try:
        return cast("BaseHeader", policy.default.header_fetch_parse(name, text))
    except (ValueError, LookupError, AttributeError) as error:
        # A line break in encoded words; but some garbage the parser just stumbles over.
        raise BadHeaderError(f"{name}: cannot be read ({error}).", field=_field(name)) from error


def _unfolded(name: str, value: object) -> str:
    """The header's text on one line; what was encoded in an older message stays so."""
    try:
        text = value.encode(maxlinelen=0) if isinstance(value, Header) else str(value)
        if not text.isascii():
            # Parsed from bytes in UTF-8, as RFC 6532 allows them.
            text = text.encode(errors="surrogateescape").decode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise MessageError(
            f"{name}: holds half a surrogate pair, which no charset can carry.", field=_field(name)
        ) from error
    return one_line(_fold.sub("", text), _field(name))


def _field(name: str) -> str:
    return _FIELDS.get(name.lower(), name)


# -- content -----------------------------------------------------------------------------


class InexpressibleError(Exception):
    """The draft has no field for something in the content."""


@dataclass(slots=True)
class _Content:
    text: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    files: list[Attachment] = field(default_factory=list)


def _taken_apart(root: StdlibMessage) -> _Content:
    content = _Content()
    if any(name.lower() not in _COMPOSED for name in root if name.lower().startswith("content-")):
        raise InexpressibleError
    if root.get_content_type() == "multipart/mixed":
        first, *others = _children(root)
        if _is_body(first):
            _check_bare(first)
            _take_versions(first, content)
        else:
            others.insert(0, first)
        content.files.extend(map(file_of, others))
    else:
        _take_versions(root, content)
    return content


def _is_body(part: StdlibMessage) -> bool:
    kind = part.get_content_type()
    return kind in ("multipart/alternative", "multipart/related") or (
        kind.startswith("text/")
        and part.get_content_disposition() != "attachment"
        and part.get_filename() is None
    )


def _take_versions(entity: StdlibMessage, content: _Content) -> None:
    if entity.get_content_type() != "multipart/alternative":
        _take_version(entity, content)
        return
    for version in _children(entity):
        _check_bare(version)
        _take_version(version, content)


def _take_version(entity: StdlibMessage, content: _Content) -> None:
    if entity.get_content_type() != "multipart/related":
        _take_text(entity, content)
        return
    first, *shown = _children(entity)
    start = _parameters(entity, "content-type").get("start")
    if start is not None and start != first["content-id"]:
        raise InexpressibleError
    _check_bare(first)
    _take_versions(first, content)
    for part in shown:
        file = file_of(part)
        content_id = file.headers.get("Content-ID", "").strip("<> ")
        if not content_id or f"cid:{content_id}" not in content.versions.get("html", ""):
            raise InexpressibleError
        content.files.append(file)


def _take_text(entity: StdlibMessage, content: _Content) -> None:
    disposition = _parameters(entity, "content-disposition")
    if disposition or entity.get_content_disposition() == "attachment" or entity.is_multipart():
        raise InexpressibleError
    subtype = _content_type(entity).removeprefix("text/")
    if "/" in subtype or subtype.startswith(("plain;", "html;")):
        raise InexpressibleError
    if subtype in content.versions or (subtype == "plain" and (content.text or content.versions)):
        raise InexpressibleError
    if subtype == "plain":
        content.text = _decoded(entity)
    else:
        content.versions[subtype] = _decoded(entity)


def _decoded(entity: StdlibMessage) -> str:
    try:
        return _data(entity).decode(entity.get_content_charset("us-ascii"))
    except (LookupError, UnicodeDecodeError):
        raise InexpressibleError from None


def file_of(part: StdlibMessage) -> Attachment:
    """The attachment that a part is.

    :raises InexpressibleError: no attachment can be what it is.
    """
    kind = part.get_content_type()
    if kind == "message/rfc822" and part.is_multipart():
        data = _octets(cast("list[StdlibMessage]", part.get_payload())[0])
    elif part.is_multipart() or kind.startswith(("multipart/", "message/")):
        raise InexpressibleError
    else:
        data = _data(part)
    if _parameters(part, "content-disposition").keys() - {"filename"}:
        raise InexpressibleError
    disposition = part.get_content_disposition() or "inline"
    charset = part.get_content_charset()
    content_type = _content_type(part) + (f'; charset="{charset}"' if charset else "")
    return Attachment(part.get_filename(), content_type, data, disposition, _own_headers(part))


def _data(entity: StdlibMessage) -> bytes:
    """The content decoded from its transfer encoding."""
    if _is_8bit(entity):
        _written(entity)  # refuses what was set as text without a charset
    data = entity.get_payload(decode=True)
    if entity.defects:
        raise InexpressibleError
    return cast("bytes", data) or b""


def _children(container: StdlibMessage) -> list[StdlibMessage]:
    children = container.get_payload()
    if not isinstance(children, list) or not children:
        raise InexpressibleError
    if _parameters(container, "content-type").keys() - {"boundary", "type", "start"}:
        raise InexpressibleError
    return cast("list[StdlibMessage]", children)


def _check_bare(entity: StdlibMessage) -> None:
    if _own_headers(entity):
        raise InexpressibleError


def _own_headers(entity: StdlibMessage) -> dict[str, str]:
    """An inner entity's headers besides those that the composer writes."""
    own: dict[str, str] = {}
    for name, value in entity.raw_items():
        key = name.lower()
        if key in _COMPOSED:
            continue
        known = "Content-ID" if key == "content-id" else name
        if known in own:
            raise InexpressibleError
        own[known] = _unfolded(name, value)
    return own


def _content_type(entity: StdlibMessage) -> str:
    """The content type with its parameters, but for the charset, and the name where the disposition has it too."""
    words = [entity.get_content_type()]
    for name, value in _parameters(entity, "content-type").items():
        if name == "charset" or (name == "name" and value == entity.get_filename()):
            continue
        if not (value.isascii() and value.isprintable()):
            raise InexpressibleError
        quoted = re.sub(r'(["\\])', r"\\\1", value)
        words.append(f'{name}="{quoted}"')
    return "; ".join(words)


def _parameters(entity: StdlibMessage, header: str) -> dict[str, str]:
    given = entity.get_params(header=header) or ()
    return {name.lower(): collapse_rfc2231_value(value) for name, value in given[1:]}


def _entity(root: StdlibMessage) -> bytes:
    """The whole content as it stands, under its own headers alone."""
    entity = copy.deepcopy(root)
    for name in set(root.keys()):
        if not name.lower().startswith("content-"):
            del entity[name]
    if "content-type" not in entity:
        entity["Content-Type"] = "text/plain"
    return _octets(entity)


def _octets(message: StdlibMessage) -> bytes:
    """The message in seven bits."""
    # A copy, because a multipart gets its boundary when it is written.
    written = copy.deepcopy(message)
    _encode_8bit(written)
    return _written(written)


def _encode_8bit(entity: StdlibMessage) -> None:
    # What is signed is left alone; it has to be in seven bits from the beginning (RFC 1847 2.1).
    if entity.get_content_type() == "multipart/signed":
        return
    if entity.is_multipart():
        for child in cast("list[StdlibMessage]", entity.get_payload()):
            _encode_8bit(child)
    elif _is_8bit(entity):
        _written(entity)
        del entity["Content-Transfer-Encoding"]
        encode_base64(entity)


def _is_8bit(entity: StdlibMessage) -> bool:
    try:
        payload = entity.get_payload()
    except UnicodeError:
        return True
    return isinstance(payload, str) and not payload.isascii()


def _written(message: StdlibMessage) -> bytes:
    style = message.policy.clone(linesep="\r\n", cte_type="8bit", mangle_from_=False)
    if isinstance(style, policy.EmailPolicy):
        style = style.clone(refold_source="none", utf8=False)
    try:
        return message.as_bytes(policy=style)
    except (MessageDefect, StdlibMessageError, UnicodeError, LookupError, TypeError) as error:
        raise MessageError(
            f"message: the standard library cannot write it ({error}); set its content by set_content().",
            field="message",
        ) from error
