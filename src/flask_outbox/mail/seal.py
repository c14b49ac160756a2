"""Sealing: the draft checked and made a letter. What a caller did wrong is said here, with the field's name."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import MessageError, MessageTooLargeError, NoRecipientsError, NoSenderError
from .address import Address, Written, listed, parse_address
from .letter import Letter, Part
from .message import Message
from .parts import media_type, seal_part
from .strings import WORD_MAX, Pairs, header_pairs, one_line, plain_text

#: The headers that a message's fields make, with the field to use instead.
_MADE = {
    "from": "sender",
    "to": "recipients",
    "cc": "cc",
    "bcc": "bcc",
    "subject": "subject",
    "mime-version": "",
    "content-type": "charset",
    "content-transfer-encoding": "",
}
#: Those that may take the place of ours.
_OWN = frozenset({"message-id", "date", "reply-to"})

_YEAR_10000 = 253_402_300_800
_charset_name = re.compile(r"[A-Za-z0-9.:_\-]+")
_msg_id = re.compile(r"<[^<>@\s]+@[^<>@\s]+>")
_esmtp_parameter = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-]*(?:=[!-<>-~]+)?")  # RFC 5321 4.1.2
# A folded line end, with something to read before and after it.
_fold = re.compile(r"(\S[ \t]*)\r\n(?=[ \t]+\S)")


@dataclass(frozen=True, slots=True)
class SealDefaults:
    """What a message gets where it says nothing itself.

    :param envelope_from: the path for bounces, "" for the null path; None for the sender.
    :param max_size: in bytes.
    :param ascii_attachments: file names are brought down to ASCII.
    :param domain: of Message-IDs; the sender's where it is "".
    """

    sender: Address | None = None
    envelope_from: str | None = None
    reply_to: tuple[Address, ...] = ()
    max_size: int = 25_000_000
    ascii_attachments: bool = False
    domain: str = ""


def seal(message: Message, *, id: str, now: float, defaults: SealDefaults) -> Letter:
    """Check a message and make it a letter. The message stays as it is, and can be sealed again under another id.

    :param id: the letter's id, 32 hexadecimal digits.
    :param now: Unix seconds; the date of a message without one.
    :raises MessageError: it cannot be mailed as it is; ``field`` says what is at fault.
    """
    sender = _sender(message, defaults)
    to, cc, bcc = (_mailboxes(getattr(message, name), name) for name in ("recipients", "cc", "bcc"))
    envelope_to = _once((*to, *cc, *bcc))
    if not envelope_to:
        raise NoRecipientsError(
            "The message has no recipients; give recipients, cc or bcc.", field="recipients"
        )
    headers, own = _headers(message.extra_headers)
    text, html, alternatives = _texts(message)
    letter = Letter(
        id=id,
        message_id=_message_id(message, own) or f"<{id}@{defaults.domain or sender.domain}>",
        date=_date(message, own, now),
        envelope_from=_envelope_from(message, sender, defaults),
        envelope_to=tuple(address.addr for address in envelope_to),
        sender=sender,
        subject=_subject(message.subject),
        to=to,
        cc=cc,
        reply_to=_reply_to(message, own, defaults),
        text=text,
        html=html,
        attachments=_parts(message, defaults),
        headers=headers,
        mail_options=_options(message.mail_options, "mail_options"),
        rcpt_options=_options(message.rcpt_options, "rcpt_options"),
        tags=tuple(one_line(tag, "tags") for tag in message.tags),
        metadata=_metadata(message),
        charset=_charset(message.charset, text, html, alternatives),
        alternatives=alternatives,
    )
    if letter.size > defaults.max_size:
        raise _too_large(letter, defaults)
    return letter


def _too_large(letter: Letter, defaults: SealDefaults) -> MessageTooLargeError:
    return MessageTooLargeError(
        f"The message has about {letter.size:,} bytes; MAIL_MAX_SIZE allows {defaults.max_size:,}. "
        "Send a link to the files instead.",
        field="attachments" if letter.attachments else "body",
    )


def _sender(message: Message, defaults: SealDefaults) -> Address:
    if message.sender:
        return parse_address(message.sender, "sender")
    if defaults.sender is None:
        raise NoSenderError(
            "The message has no sender; give Message(sender=…) or set MAIL_DEFAULT_SENDER.",
            field="sender",
        )
    return defaults.sender


def _mailboxes(written: Iterable[Written] | Written | None, field: str) -> tuple[Address, ...]:
    return _once(parse_address(one, field) for one in listed(written))


def _once(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Each mailbox at its first place. Only the domain is the same in capitals (RFC 5321 2.4)."""
    found: dict[str, Address] = {}
    for address in addresses:
        local, _, domain = address.addr.rpartition("@")
        found.setdefault(f"{local}@{domain.lower()}", address)
    return tuple(found.values())


def _envelope_from(message: Message, sender: Address, defaults: SealDefaults) -> str:
    given = message.envelope_from
    if given:
        return "" if given == "<>" else parse_address(given, "envelope_from").addr
    return sender.addr if defaults.envelope_from is None else defaults.envelope_from


def _reply_to(
    message: Message, own: Mapping[str, str], defaults: SealDefaults
) -> tuple[Address, ...]:
    given = message.reply_to
    if "reply-to" in own:
        if given:
            raise _made_twice("Reply-To", "reply_to")
        return (parse_address(own["reply-to"], "extra_headers"),)
    if not given:
        return defaults.reply_to
    return _mailboxes([given] if isinstance(given, tuple) else given, "reply_to")


def _subject(given: object) -> str:
    if not given:
        return ""
    subject = plain_text(given, "subject")
    if "\r\n" in subject:
        subject = _fold.sub(r"\1", subject)
    return one_line(subject, "subject").strip()


def _message_id(message: Message, own: Mapping[str, str]) -> str | None:
    field = "extra_headers" if "message-id" in own else "msgId"
    given = own.get("message-id") or message.msgId
    if not given:
        return None
    bare = one_line(given, field).strip()
    message_id = bare if bare.startswith("<") else f"<{bare}>"
    if not (message_id.isascii() and len(message_id) <= WORD_MAX and _msg_id.fullmatch(message_id)):
        raise MessageError(
            f"{field}: {bare[:100]!r} is not a Message-ID; write '<something@example.org>'.",
            field=field,
        )
    return message_id


def _date(message: Message, own: Mapping[str, str], now: float) -> int:
    field = "extra_headers" if "date" in own else "date"
    try:
        given = _seconds(own["date"]) if "date" in own else message.date
        date = float(now if given is None else given)
    except (TypeError, ValueError):
        date = -1.0
    if not 0 <= date < _YEAR_10000:
        raise MessageError(
            f"{field}: not a date; give Unix seconds, like time.time().", field=field
        )
    return int(date)


def _seconds(date: str) -> float:
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    parsed = parsedate_to_datetime(date)
    # "-0000" is UTC of an unknown zone (RFC 5322 3.3).
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _headers(
    given: Mapping[str, str] | Iterable[tuple[str, str]] | None,
) -> tuple[Pairs, dict[str, str]]:
    """The further headers, and apart from them those that take the place of ours, by their name in small."""
    kept: list[tuple[str, str]] = []
    own: dict[str, str] = {}
    for name, value in header_pairs(given, "extra_headers"):
        key = name.lower()
        if key in _MADE:
            raise _made_twice(name, _MADE[key])
        if key in _OWN:
            own[key] = value
        else:
            kept.append((name, value))
    return tuple(kept), own


def _made_twice(name: str, instead: str) -> MessageError:
    cure = f"use Message({instead}=…)" if instead else "leave it out"
    return MessageError(
        f"extra_headers: {name!r} is made by the message itself; {cure}.", field="extra_headers"
    )


def _texts(message: Message) -> tuple[str | None, str | None, Pairs]:
    """The text, the HTML and all versions besides the text, where there are more than these two."""
    text = plain_text(message.body, "body") if message.body else None
    versions = []
    for subtype, content in message.alts.items():
        field = "html" if subtype == "html" else "alts"
        if content:
            versions.append((_subtype(subtype), plain_text(content, field)))
    html = dict(versions).get("html")
    if html and not (text and text.strip()):
        # Loaded here: most processes never need it, and it is slow to load.
        from .text import text_from_html

        text = text_from_html(html) or None
    return text, html, () if len(versions) == (html is not None) else tuple(versions)


def _subtype(given: str) -> str:
    """A text subtype with its parameters, but for the charset, which is the letter's."""
    content_type, parameters = media_type(f"text/{given.removeprefix('text/')}", "alts")
    words = [content_type.removeprefix("text/")]
    for name, value in parameters:
        if name.lower() != "charset":
            quoted = re.sub(r'(["\\])', r"\\\1", value)
            words.append(f'{name}="{quoted}"')
    return "; ".join(words)


def _charset(given: str | None, text: str | None, html: str | None, alternatives: Pairs) -> str:
    """The MIME label of the texts' charset. ASCII is UTF-8's, which does not fail at the first umlaut."""
    if not given:
        return "utf-8"
    from email.charset import Charset

    written = one_line(given, "charset").strip()
    try:
        if not _charset_name.fullmatch(written):
            raise LookupError
        label = Charset(written).input_charset or ""
        if codecs.lookup(label).name in ("utf-8", "ascii"):
            return "utf-8"
        if "\r\n".encode(label) != b"\r\n":
            raise LookupError
        for content in (text or "", html or "", *(content for _, content in alternatives)):
            content.encode(label)
    except UnicodeError as error:
        raise MessageError(
            f"charset: {written} cannot write all of the text; leave the charset out for utf-8.",
            field="charset",
        ) from error
    except LookupError:
        raise MessageError(
            f"charset: {written[:100]!r} is not a charset for mail; leave it out for utf-8.",
            field="charset",
        ) from None
    return label


def _parts(message: Message, defaults: SealDefaults) -> tuple[Part, ...]:
    ascii_name = defaults.ascii_attachments
    return tuple(seal_part(attachment, ascii_name=ascii_name) for attachment in message.attachments)


def _metadata(message: Message) -> dict[str, str]:
    field = "metadata"
    return {one_line(key, field): one_line(value, field) for key, value in message.metadata.items()}


def _options(given: Iterable[str] | None, field: str) -> tuple[str, ...]:
    options = tuple(
        one_line(option, field) for option in ([given] if isinstance(given, str) else given or ())
    )
    for option in options:
        if not _esmtp_parameter.fullmatch(option):
            raise MessageError(
                f"{field}: {option[:100]!r} is not an ESMTP parameter; write one like 'RET=HDRS'.",
                field=field,
            )
    return options
