"""Flask-Mail's functions for what stands in a header."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .mail.address import Address, Written, parse_address


class FlaskMailUnicodeDecodeError(UnicodeDecodeError):
    """Bytes that are no text; says which object they were."""

    def __init__(self, obj: object, *args: Any) -> None:
        self.obj = obj
        super().__init__(*args)

    def __str__(self) -> str:
        return f"{super().__str__()}. You passed in {self.obj!r} ({type(self.obj)})"


def force_text(s: object, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Text of text, bytes, a lazy string or anything else."""
    if not isinstance(s, bytes):
        return s if isinstance(s, str) else str(s)
    try:
        return s.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise FlaskMailUnicodeDecodeError(s, *error.args) from error


def sanitize_subject(subject: str, encoding: str = "utf-8") -> str:
    """A subject in RFC 2047's form, where it needs that."""
    return subject if subject.isascii() else _encoded(subject, encoding)


def sanitize_address(addr: Written, encoding: str = "utf-8") -> str:
    """An address as it stands in a header: no line ends, the name encoded and the domain in ASCII where needed.

    :raises MessageError: it is no address.
    """
    from email.utils import quote

    if isinstance(addr, Address):
        addr = (addr.name, addr.addr)
    bare = addr if isinstance(addr, tuple) else force_text(addr)
    parsed = parse_address(_on_one_line(bare), "address")
    name = parsed.name
    if not name.isascii():
        return f"{_encoded(name, encoding)} <{parsed.addr}>"
    if not name:
        return parsed.addr
    shown = name if name.replace(" ", "").isalnum() else f'"{quote(name)}"'
    return f"{shown} <{parsed.addr}>"


def sanitize_addresses(addresses: Iterable[Written], encoding: str = "utf-8") -> list[str]:
    """:func:`sanitize_address` of each."""
    return [sanitize_address(addr, encoding) for addr in addresses]


def _on_one_line(addr: str | tuple[str, str]) -> str | tuple[str, str]:
    if isinstance(addr, tuple):
        name, spec = addr
        return "".join(str(name or "").splitlines()), "".join(str(spec).splitlines())
    return "".join(addr.splitlines())


def _encoded(text: str, encoding: str) -> str:
    from email.charset import SHORTEST, Charset
    from email.header import Header

    charset = Charset(encoding)
    if charset.input_charset == "utf-8":
        charset.header_encoding = SHORTEST
    try:
        return Header(text, charset).encode()
    except UnicodeEncodeError:
        return _encoded(text, "utf-8")
