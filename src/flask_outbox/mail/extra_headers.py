"""The headers a caller adds, sorted by what may stand in them.

Those of addresses are read like the other addresses of a message, so that a name with commas or umlauts is written
as it must be; dates and ids are checked; everything else is free text. Apart from them are kept those that take the
place of a header of ours.
"""

from __future__ import annotations

import re

from ..errors import AddressError, MessageError
from .address import Address, listed, parse_address
from .headers import mailbox
from .message import Message
from .strings import WORD_MAX, Pairs, header_pairs, one_line

_FIELD = "extra_headers"

#: The headers that a message's fields make, with the field to use instead.
_MADE = {
    "from": "sender",
    "to": "recipients",
    "cc": "cc",
    "bcc": "bcc",
    "resent-bcc": "bcc",
    "subject": "subject",
    "mime-version": "",
    "content-type": "charset",
    "content-transfer-encoding": "",
}
#: Those that may take the place of ours.
_OWN = frozenset({"message-id", "date", "reply-to"})

# fmt: off
_OF_ADDRESSES = frozenset(
    ("sender", "resent-from", "resent-sender", "resent-to", "resent-cc", "resent-reply-to",
     "disposition-notification-to", "return-receipt-to", "errors-to", "mail-reply-to",
     "mail-followup-to")
)
# fmt: on
_DATES = frozenset(("resent-date", "expires", "expiry-date", "reply-by", "deferred-delivery"))
_OF_IDS = frozenset(("in-reply-to", "references", "resent-message-id", "supersedes"))
# RFC 5322 3.6
_ONCE = frozenset(("sender", "in-reply-to", "references")) | _OWN

_one_of_a_list = re.compile(r'(?:"(?:[^"\\]|\\.)*"|<[^<>]*>|[^,"<])+')
# Without encoded words, which have no place here and which some readers decode all the same.
_unsubscribe_url = re.compile(
    r"(?!.*=\?.*\?=)(?:https://[^\s<>/]+[^\s<>]*|mailto:[^\s<>@]+@[^\s<>]+)", re.IGNORECASE
)


def seal_headers(message: Message) -> tuple[Pairs, dict[str, str]]:
    """The further headers, and apart from them those that take the place of ours, by their name in small."""
    if not (message.extra_headers or message.list_unsubscribe):
        return (), {}
    kept: list[tuple[str, str]] = []
    own: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in header_pairs(message.extra_headers, _FIELD):
        key = name.lower()
        if key in _MADE:
            raise made_twice(name, _MADE[key])
        if key in seen and key in _ONCE:
            raise MessageError(
                f"{_FIELD}: {name!r} is given twice; a message has only one.", field=_FIELD
            )
        seen.add(key)
        if key in _OWN:
            own[key] = value
        else:
            kept.append((name, _typed(key, value)))
    unsubscribe = _list_unsubscribe(message)
    for name, _ in unsubscribe:
        if name.lower() in seen:
            raise made_twice(name, "list_unsubscribe")
    return (*kept, *unsubscribe), own


def made_twice(name: str, instead: str) -> MessageError:
    """The error for a header that a field of the message makes."""
    cure = f"use Message({instead}=…)" if instead else "leave it out"
    return MessageError(f"{_FIELD}: {name!r} is made by the message itself; {cure}.", field=_FIELD)


def addresses_in(value: str) -> list[Address]:
    """The addresses of a header: one, whose name may hold commas, or several with commas between them."""
    try:
        return [parse_address(value, _FIELD)]
    except AddressError:
        several = [one for one in _one_of_a_list.findall(value) if one.strip()]
        if len(several) < 2:
            raise
    return [parse_address(one, _FIELD) for one in several]


def seconds_of(date: str) -> float:
    """A date of RFC 5322 as Unix seconds.

    :raises ValueError: it is none.
    """
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    parsed = parsedate_to_datetime(date)
    # "-0000" is UTC of an unknown zone (RFC 5322 3.3).
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _typed(key: str, value: str) -> str:
    """The value of a header as it is to be written."""
    if key in _OF_ADDRESSES:
        return _of_addresses(key, value)
    if key in _DATES:
        try:
            seconds_of(value)
        except ValueError:
            raise MessageError(
                f"{_FIELD}: {value[:100]!r} is not a date for {key!r}; write one by email.utils.format_datetime().",
                field=_FIELD,
            ) from None
    elif key in _OF_IDS and not value.isascii():
        raise MessageError(
            f"{_FIELD}: {value[:100]!r} is not a Message-ID for {key!r}; write '<something@example.org>'.",
            field=_FIELD,
        )
    return value


def _of_addresses(key: str, value: str) -> str:
    addresses = addresses_in(value)
    for address in addresses:
        if address.needs_smtputf8:
            raise MessageError(
                f"{_FIELD}: in {key!r} the part before the @ must be ASCII: {address.addr[:100]!r}.",
                field=_FIELD,
            )
    return ", ".join(" ".join(mailbox(address)) for address in addresses)


def _list_unsubscribe(message: Message) -> Pairs:
    """RFC 2369, and RFC 8058 where there is a URL for its one click."""
    if not message.list_unsubscribe:
        return ()
    field = "list_unsubscribe"
    urls = [one_line(url, field).strip() for url in listed(message.list_unsubscribe)]
    for url in urls:
        if not (url.isascii() and len(url) <= WORD_MAX and _unsubscribe_url.fullmatch(url)):
            raise MessageError(
                f"{field}: {url[:100]!r} is not a URL for it; "
                "write 'https://example.org/…' or 'mailto:name@example.org', other characters in percent.",
                field=field,
            )
    made = [("List-Unsubscribe", ", ".join(f"<{url}>" for url in urls))]
    if message.list_unsubscribe_post and any(url.lower().startswith("https:") for url in urls):
        made.append(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    return tuple(made)
