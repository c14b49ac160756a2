"""Encryption of what mail says: AES-256-GCM under keys that only the application has (``MAIL_OUTBOX_KEY``).

Each text has a key of its own, made by HMAC-SHA256 of the application's key and a random salt, so that no number of
messages wears the key out. What it is and whose goes into the authentication: a text that was moved to another row is
not read. It is stored as::

    version (1 byte) · which key (4) · salt (16) · nonce (12) · text and tag

The attachments are stored once each, under a name that must not tell what is in them: HMAC-SHA256 of their digest,
under a key that is made at random once for an outbox. That one is stored beside them, encrypted itself, so that the
names outlive every other key.
"""

from __future__ import annotations

import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ..errors import ConfigurationError

_VERSION = b"\x01"

#: What an encrypted content begins with.
TEXT = b"1:"

#: Bytes of an encrypted content that depend on the key alone.
HEAD = 8

_SALT, _NONCE = 16, 12
_HEAD = 1 + 4

#: Bytes of a key.
LENGTH = 32


class UnknownKeyError(ValueError):
    """It was encrypted under a key that is not among the given ones, or was changed since."""


class _Aead(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def decrypt(
        self, nonce: bytes, data: bytes | memoryview, associated_data: bytes | None
    ) -> bytes: ...


class Cipher:
    """Encrypts under the first of the keys, and reads what any of them has encrypted.

    :raises ConfigurationError: the package ``cryptography`` is missing.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._aead, self._refused = _loaded()
        self._keys = {_mark(key): key for key in keys}
        self._current = _mark(keys[0])

    def seal(self, data: bytes, of: str) -> bytes:
        """Encrypt.

        :param of: what it is; the same is asked for at :meth:`open`.
        """
        head, salt, nonce = _VERSION + self._current, os.urandom(_SALT), os.urandom(_NONCE)
        box = self._aead(_derived(self._keys[self._current], salt))
        return head + salt + nonce + box.encrypt(nonce, data, head + of.encode())

    def open(self, sealed: bytes, of: str) -> bytes:
        """Decrypt.

        :raises UnknownKeyError: none of the keys reads it.
        """
        key = self._keys.get(sealed[1:_HEAD])
        if key is None or sealed[:1] != _VERSION:
            raise UnknownKeyError(
                "It is encrypted, and none of the keys in MAIL_OUTBOX_KEY reads it."
            )
        nonce, text = _HEAD + _SALT, _HEAD + _SALT + _NONCE
        box = self._aead(_derived(key, sealed[_HEAD:nonce]))
        rest = memoryview(sealed)[text:]  # it may be large
        try:
            return box.decrypt(sealed[nonce:text], rest, sealed[:_HEAD] + of.encode())
        except self._refused:
            raise UnknownKeyError(
                "It was changed since it was encrypted, or belongs elsewhere."
            ) from None

    def wrote(self, head: bytes) -> bool:
        """Whether one of the keys has encrypted the letter whose stored content begins so; :data:`HEAD` bytes tell."""
        return head[:HEAD] in {(TEXT + b64encode(_VERSION + mark))[:HEAD] for mark in self._keys}

    def is_current(self, head: bytes) -> bool:
        """Whether what begins so is encrypted under the first key."""
        return head[:_HEAD] == _VERSION + self._current


class Vault:
    """What a send needs to encrypt its letters.

    :param naming: the key of the names.
    """

    def __init__(self, cipher: Cipher, naming: bytes) -> None:
        self._cipher = cipher
        self._naming = naming

    def name(self, digest: str) -> str:
        """What is stored in place of a digest, which would tell who knows the content that this is it."""
        return hmac.digest(self._naming, digest.encode(), "sha256").hex()

    def content(self, letter_id: str, content: bytes) -> bytes:
        """A letter's content as it is stored: in ASCII, and with another beginning than the brace of a readable one."""
        return TEXT + b64encode(self._cipher.seal(content, f"letter {letter_id}"))

    def attachment(self, digest: str, data: bytes) -> bytes:
        """An attachment as it is stored under its name."""
        return self._cipher.seal(data, f"attachment {self.name(digest)}")

    def opened(self, digest: str, blobs: Mapping[str, bytes]) -> bytes:
        """An attachment, of those that are stored under these names.

        :raises KeyError: it is not among them.
        :raises UnknownKeyError: none of the keys reads it.
        """
        name = self.name(digest)
        return self._cipher.open(blobs[name], f"attachment {name}")


def content_of(cipher: Cipher, letter_id: str, stored: bytes) -> bytes:
    """What :meth:`Vault.content` has encrypted.

    :raises UnknownKeyError: none of the keys reads it.
    """
    return cipher.open(b64decode(stored.removeprefix(TEXT)), f"letter {letter_id}")


def _mark(key: bytes) -> bytes:
    """By what a key is known; it tells nothing of it."""
    return hmac.digest(key, b"flask-outbox key", "sha256")[:4]


def _derived(key: bytes, salt: bytes) -> bytes:
    return hmac.digest(key, b"flask-outbox text" + salt, "sha256")


def _loaded() -> tuple[Callable[[bytes], _Aead], type[Exception]]:
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ConfigurationError(
            "'MAIL_OUTBOX_KEY' needs the package cryptography: pip install 'Flask-Outbox[crypto]'."
        ) from error
    return AESGCM, InvalidTag
