"""Keys for signing, and another implementation to check what they signed."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import dkim
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from flask_outbox.mail.dkim import Signer

# The published secret of RFC 8463 A.2.
_ED25519_SEED = b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")


@dataclass(frozen=True)
class Key:
    """A signer and what the DNS says of it."""

    signer: Signer
    record: bytes

    def verifies(self, content: bytes) -> bool:
        """Whether dkimpy takes the signature of a message."""
        return dkim.verify(content, dnsfunc=self._answer)

    def _answer(self, name: bytes, timeout: int = 5) -> bytes:
        assert name == b"mail2025._domainkey.example.org."
        return self.record


@cache
def rsa_key() -> Key:
    private = generate_private_key(65_537, 1024)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _key(private, b"v=DKIM1; k=rsa; p=" + b64encode(public))


@cache
def ed25519_key() -> Key:
    private = Ed25519PrivateKey.from_private_bytes(_ED25519_SEED)
    public = private.public_key().public_bytes_raw()
    return _key(private, b"v=DKIM1; k=ed25519; p=" + b64encode(public))


def _key(private: RSAPrivateKey | Ed25519PrivateKey, record: bytes) -> Key:
    return Key(Signer("example.org", "mail2025", pem(private)), record)


def pem(private: RSAPrivateKey | Ed25519PrivateKey) -> str:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def lend_ed25519(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dkimpy has no Ed25519 of its own, it takes PyNaCl's; here it gets that of ``cryptography``."""

    def verify_key(public: bytes, encoder: object) -> object:
        key = Ed25519PublicKey.from_public_bytes(b64decode(public))
        return SimpleNamespace(verify=lambda digest, signature: key.verify(signature, digest))

    nacl = SimpleNamespace(
        signing=SimpleNamespace(VerifyKey=verify_key),
        encoding=SimpleNamespace(Base64Encoder=None),
        exceptions=SimpleNamespace(BadSignatureError=InvalidSignature, ValueError=ValueError),
    )
    monkeypatch.setattr(dkim, "nacl", nacl, raising=False)
