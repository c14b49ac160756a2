"""The standard library's ``email`` package as an oracle: it writes the same letter, and reads what was written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.headerregistry import Address as StdlibAddress
from email.message import EmailMessage, MIMEPart
from email.policy import SMTP

from flask_outbox.mail.address import Address
from flask_outbox.mail.letter import Letter, Part

from .reading import parse, with_crlf

#: What a reader is shown, by where it stands.
Facts = dict[str, object]

_TECHNICAL = {"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition"}


def written_by_email(letter: Letter) -> bytes:
    """The letter's message as the ``email`` package writes it."""
    message = EmailMessage(policy=SMTP)
    message["From"] = _mailbox(letter.sender)
    for name, addresses in (("To", letter.to), ("Cc", letter.cc), ("Reply-To", letter.reply_to)):
        if addresses:
            message[name] = [_mailbox(address) for address in addresses]
    if letter.subject:
        message["Subject"] = letter.subject
    message["Date"] = datetime.fromtimestamp(letter.date, UTC)
    message["Message-ID"] = letter.message_id
    for name, value in letter.headers:
        message[name] = value
    _write_content(message, letter)
    return message.as_bytes()


def read(content: bytes) -> Facts:
    """The headers that say something, how the parts lie in each other, and what each part says."""
    message = parse(content)
    found: Facts = {"parts": _tree(message)}
    for name in set(message.keys()) - _TECHNICAL:
        value = message[name]
        if hasattr(value, "addresses"):
            found[name] = [(shown.display_name, shown.addr_spec) for shown in value.addresses]
        else:
            found[name] = str(value)
    leaves = [part for part in message.walk() if not part.is_multipart()]
    for number, part in enumerate(leaves):
        disposition = part["Content-Disposition"]
        found[f"type {number}"] = part.get_content_type()
        found[f"name {number}"] = disposition.params.get("filename", "") if disposition else ""
        found[f"id {number}"] = str(part["Content-ID"] or "")
        found[f"content {number}"] = part.get_payload(decode=True)
    return found


def said(letter: Letter) -> Facts:
    """What a reader should be shown, but for how the parts lie in each other."""
    facts: Facts = {
        "From": _pairs((letter.sender,)),
        "To": _pairs(letter.to),
        "Cc": _pairs(letter.cc),
        "Reply-To": _pairs(letter.reply_to),
        "Subject": letter.subject,
        "Message-ID": letter.message_id,
        **dict(letter.headers),
    }
    facts = {name: value for name, value in facts.items() if value or name.startswith("X-")}
    texts = [
        Part("", f"text/{subtype}", with_crlf(text).encode())
        for subtype, text in (("plain", letter.text), ("html", letter.html))
        if text is not None
    ]
    leaves = [*texts, *_sorted(letter)] or [Part("", "text/plain", b"")]
    for number, part in enumerate(leaves):
        facts[f"type {number}"] = part.content_type
        facts[f"name {number}"] = part.filename
        facts[f"id {number}"] = f"<{part.content_id}>" if part.content_id else ""
        facts[f"content {number}"] = part.data
    return facts


def _pairs(addresses: tuple[Address, ...]) -> list[tuple[str, str]]:
    return [(address.name, address.addr) for address in addresses]


def _mailbox(address: Address) -> StdlibAddress:
    return StdlibAddress(display_name=address.name, addr_spec=address.addr)


def _sorted(letter: Letter) -> list[Part]:
    """What the HTML shows comes before what is attached."""
    return sorted(letter.attachments, key=lambda part: part.disposition != "inline")


def _write_content(message: EmailMessage, letter: Letter) -> None:
    inline = [part for part in letter.attachments if part.disposition == "inline"]
    attached = [part for part in letter.attachments if part.disposition != "inline"]
    if letter.text is not None or not (letter.html or attached):
        message.set_content(letter.text or "")
    if letter.html is not None:
        write = message.set_content if letter.text is None else message.add_alternative
        write(letter.html, "html")
        shown = message.get_body(("html",))
        for part in inline:
            _add(shown.add_related, part)
    for part in attached:
        _add(message.add_attachment, part)


def _add(add: Callable[..., None], part: Part) -> None:
    maintype, _, subtype = part.content_type.partition("/")
    named = {"filename": part.filename} if part.filename else {}
    shown = {"cid": f"<{part.content_id}>"} if part.content_id else {}
    add(part.data, maintype, subtype, disposition=part.disposition, **named, **shown)


def _tree(part: MIMEPart) -> object:
    kind = part.get_content_type()
    return [kind, *map(_tree, part.iter_parts())] if part.is_multipart() else kind
