"""DKIM: a header that proves who sent a message, and that it is as they sent it (RFC 6376, RFC 8463).

Header and body are signed in the relaxed form, which outlives new folds and spaces on the way. The same letter gets
the same signature at every try: RSA is padded by PKCS #1 v1.5, Ed25519 needs no chance, and ``t=`` is the letter's
Date.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain

from ..errors import ConfigurationError, MessageError
from .address import parse_address
from .content import Composed, pieces
from .headers import folded
from .letter import Letter
from .mime import composed

# What a reader is shown and what steers the mail. Each is named once more than it is there, so that no second one
# can be added on the way (RFC 6376 8.15).
_OVERSIGNED = (
    *("from", "to", "cc", "reply-to", "subject", "date", "message-id", "content-type"),
    *("list-unsubscribe", "list-unsubscribe-post"),
)
# Further ones, signed where they are there (RFC 6376 5.4.1).
_SIGNED = (
    *("sender", "in-reply-to", "references", "mime-version", "content-transfer-encoding"),
    *("list-id", "list-help", "list-subscribe", "list-post", "list-owner", "list-archive"),
    *("auto-submitted", "disposition-notification-to"),
)

_RSA_BITS_MIN = 1024  # RFC 8301 3.2: verifiers take no less.
_PIECE = 72

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_\-]*[A-Za-z0-9])?"
_selector = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_field = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)")
_spaces = re.compile(rb"[ \t]+")


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs. Receivers find the public key in the DNS, as TXT of ``selector._domainkey.domain``.

    :param key: the private key in PEM without a passphrase: Ed25519, or RSA of at least 1024 bits (2048 is usual).
    :raises ConfigurationError: one of them is not what its setting must hold.
    """

    domain: str
    selector: str
    key: str | bytes = field(repr=False)
    #: The ``a=`` tag.
    algorithm: str = field(init=False)
    #: The signature of some data by that algorithm.
    signature: Callable[[bytes], bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _selector.fullmatch(self.selector):
            raise ConfigurationError(
                "'MAIL_DKIM_SELECTOR' must be the name before '._domainkey' in the DNS, like 'mail2025'."
            )
        algorithm, signature = _loaded(self.key)
        object.__setattr__(self, "domain", _domain(self.domain))
        object.__setattr__(self, "algorithm", algorithm)
        object.__setattr__(self, "signature", signature)


def signing_composer(signer: Signer) -> Callable[[Letter], Composed]:
    """:func:`.mime.composed`, with a signature on top."""

    def compose_signed(letter: Letter) -> Composed:
        content = composed(letter)
        field = sign(content, signer, letter.date)
        if isinstance(content, bytes):
            return field + content
        return content.below(field.removesuffix(b"\r\n"))

    return compose_signed


def sign(content: Composed, signer: Signer, date: int) -> bytes:
    """The DKIM-Signature field for a message, with its line end; it belongs before the message.

    :param content: with CRLF for every line end, as :func:`.mime.compose` makes it.
    :param date: Unix seconds.
    """
    head, body = _parted(pieces(content))
    fields = [(name.lower().decode(), value) for name, value in _field.findall(head)]
    names = _signed_names([name for name, _ in fields])
    words = [
        *("v=1;", f"a={signer.algorithm};", "c=relaxed/relaxed;"),
        *(f"d={signer.domain};", f"s={signer.selector};", f"t={date};"),
        *f"h={': '.join(names)};".split(" "),
        f"bh={_base64(_hash(_relaxed_body(body)))};",
    ]
    signed = _relaxed_fields(fields, names) + f"dkim-signature:{' '.join(words)} b=".encode()
    value = _base64(signer.signature(signed))
    first, *others = [value[start : start + _PIECE] for start in range(0, len(value), _PIECE)]
    return folded("DKIM-Signature", [*words, f"b={first}", *others]).encode()


def _signed_names(there: list[str]) -> list[str]:
    names = [name for name in _OVERSIGNED for _ in range(there.count(name) + 1)]
    return names + [name for name in _SIGNED for _ in range(there.count(name))]


def _relaxed_fields(fields: list[tuple[str, bytes]], names: list[str]) -> bytes:
    """The fields of these names in the relaxed form (RFC 6376 3.4.2).

    A name that is there more than once takes them from the last on, one that is not adds nothing (5.4.2).
    """
    left = list(fields)
    lines = []
    for name in names:
        found = next((at for at in reversed(range(len(left))) if left[at][0] == name), None)
        if found is not None:
            value = _spaces.sub(b" ", left.pop(found)[1].replace(b"\r\n", b"")).strip()
            lines.append(b"%b:%b\r\n" % (name.encode(), value))
    return b"".join(lines)


def _parted(content: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The header, and the pieces of the body."""
    left, head = iter(content), b""
    for piece in left:
        head += piece
        if b"\r\n\r\n" in head:
            break
    head, _, first = head.partition(b"\r\n\r\n")
    return head, chain((first,), left)


def _relaxed_body(body: Iterable[bytes]) -> Iterator[bytes]:
    """Spaces in the singular and none at the end of a line, no empty lines at the end (RFC 6376 3.4.4).

    :param body: in pieces of whole lines.
    """
    ends: list[bytes] = []
    empty = True
    for piece in body:
        line = piece
        if b"\t" in line or b"  " in line or b" \r\n" in line:
            line = _spaces.sub(b" ", line).replace(b" \r\n", b"\r\n")
        text = line.rstrip(b"\r\n")
        if text:
            yield from (*ends, text)
            ends, empty = [], False
        ends.append(line[len(text) :])
    if not empty:
        yield b"\r\n"


def _hash(data: Iterable[bytes]) -> bytes:
    found = sha256()
    for piece in data:
        found.update(piece)
    return found.digest()


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def _domain(given: str) -> str:
    try:
        domain = parse_address(f"postmaster@{given}", "MAIL_DKIM_DOMAIN").domain
    except MessageError:
        domain = ""
    if not domain or domain.startswith("["):
        raise ConfigurationError("'MAIL_DKIM_DOMAIN' must be a domain, like 'example.org'.")
    return domain.lower()


def _loaded(pem: str | bytes) -> tuple[str, Callable[[bytes], bytes]]:
    """The algorithm of a private key, and what signs by it."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise ConfigurationError(
            "'MAIL_DKIM_KEY' needs the package cryptography: pip install 'Flask-Outbox[crypto]'."
        ) from error
    try:
        key = load_pem_private_key(pem.encode() if isinstance(pem, str) else pem, None)
    except (
        TypeError,
        ValueError,
        UnsupportedAlgorithm,
    ):  # TypeError is for a passphrase that is missing
        key = None
    if isinstance(key, Ed25519PrivateKey):
        # RFC 8463 3: the hash is what Ed25519 signs.
        return "ed25519-sha256", lambda data: key.sign(sha256(data).digest())
    if not isinstance(key, RSAPrivateKey):
        raise ConfigurationError(
            "'MAIL_DKIM_KEY' must be a private key in PEM, RSA or Ed25519, without a passphrase."
        )
    if key.key_size < _RSA_BITS_MIN:
        raise ConfigurationError(
            f"'MAIL_DKIM_KEY' has {key.key_size} bits, too few for receivers; make an RSA key of 2048."
        )
    return "rsa-sha256", lambda data: key.sign(data, PKCS1v15(), SHA256())
