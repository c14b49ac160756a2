"""Sealing: the draft checked and made a letter. What a caller did wrong is said here, with the field's name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import MessageError, MessageTooLargeError, NoRecipientsError, NoSenderError
from .address import Address, Written, listed, parse_address
from .extra_headers import addresses_in, made_twice, seal_headers, seconds_of
from .letter import Letter, Part
from .message import Message
from .parts import seal_part
from .strings import WORD_MAX, one_line, plain_text
from .versions import seal_charset, seal_versions

_YEAR_10000 = 253_402_300_800
# No comment, and nothing that looks like an encoded word (RFC 2047 5), which some readers would decode.
_msg_id = re.compile(r'<(?!.*=\?)[^<>@(),:;"\\\s]+@[^<>@(),;"\\\s]+>')
_esmtp_parameter = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-]*(?:=[!-<>-~]+)?")  # RFC 5321 4.1.2
# A folded line end, with something to read before and after it.
_fold = re.compile(r"(\S[ \t]*)\r\n(?=[ \t]+\S)")


@dataclass(frozen=True, slots=True)
class SealDefaults:
    """What a message gets where it says nothing itself.

    :param envelope_from: the path for bounces, "" for the null path; None for the sender.
    :param max_size: in bytes.
    :param ascii_attachments: file names are brought down to ASCII.
    """

    sender: Address | None = None
    envelope_from: str | None = None
    reply_to: tuple[Address, ...] = ()
    max_size: int = 25_000_000
    ascii_attachments: bool = False


def seal(message: Message, *, id: str, now: float, defaults: SealDefaults) -> Letter:
    """Check a message and make it a letter. The message stays as it is, and can be sealed again under another id.

    :param id: the letter's id, 32 hexadecimal digits.
    :param now: Unix seconds; the date of a message without one.
    :raises MessageError: it cannot be mailed as it is; ``field`` says what is at fault.
    """
    sender = _sender(message, defaults)
    to = _mailboxes(message.recipients, "recipients")
    cc = _mailboxes(message.cc, "cc")
    bcc = _mailboxes(message.bcc, "bcc")
    everyone = _once((*to, *cc, *bcc))
    if not everyone:
        raise NoRecipientsError(
            "The message has no recipients; give recipients, cc or bcc.", field="recipients"
        )
    headers, own = seal_headers(message)
    versions = text, html, alternatives = seal_versions(message)
    letter = Letter(
        id=id,
        message_id=_message_id(message, own) or f"<{id}@{sender.domain}>",
        date=_date(message, own, now),
        envelope_from=_envelope_from(message, sender, defaults),
        envelope_to=tuple([address.addr for address in everyone]),
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
        tags=tuple([one_line(tag, "tags") for tag in message.tags]),
        metadata=_metadata(message),
        charset=seal_charset(message.charset, versions),
        alternatives=alternatives,
    )
    if message.entity is not None:
        letter = _with_entity(letter, message)
    if letter.size > defaults.max_size:
        raise _too_large(letter, defaults)
    return letter


def _with_entity(letter: Letter, message: Message) -> Letter:
    # Loaded here: most processes never need it.
    from .entity import seal_entity
    from .mime import around

    return replace(letter, raw=around(letter, seal_entity(message, message.entity)))


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
    return _once([parse_address(one, field) for one in listed(written)]) if written else ()


def _once(addresses: Sequence[Address]) -> tuple[Address, ...]:
    """Each mailbox at its first place. Only the domain is the same in capitals (RFC 5321 2.4)."""
    if len(addresses) < 2:
        return tuple(addresses)
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
            raise made_twice("Reply-To", "reply_to")
        return _once(addresses_in(own["reply-to"]))
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
    given = own.get("message-id") or message.own_id
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
    if message.date is None and not own:
        return int(now)
    field = "extra_headers" if "date" in own else "date"
    try:
        given = seconds_of(own["date"]) if "date" in own else message.date
        date = float(now if given is None else given)
    except (TypeError, ValueError):
        date = -1.0
    if not 0 <= date < _YEAR_10000:
        raise MessageError(
            f"{field}: not a date; give Unix seconds, like time.time().", field=field
        )
    return int(date)


def _parts(message: Message, defaults: SealDefaults) -> tuple[Part, ...]:
    ascii_name = defaults.ascii_attachments
    return tuple(
        [seal_part(attachment, ascii_name=ascii_name) for attachment in message.attachments]
    )


def _metadata(message: Message) -> dict[str, str]:
    field = "metadata"
    return {one_line(key, field): one_line(value, field) for key, value in message.metadata.items()}


def _options(given: Iterable[str] | None, field: str) -> tuple[str, ...]:
    if not given:
        return ()
    options = tuple(
        [one_line(option, field) for option in ([given] if isinstance(given, str) else given)]
    )
    for option in options:
        if not _esmtp_parameter.fullmatch(option):
            raise MessageError(
                f"{field}: {option[:100]!r} is not an ESMTP parameter; write one like 'RET=HDRS'.",
                field=field,
            )
    return options
