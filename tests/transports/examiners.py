"""The servers' sides of SASL mechanisms, written from the RFCs and not from ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Generator

from servers.scripted import Examiner

Examination = Generator[bytes, bytes, bool]


def external(name: str) -> Examiner:
    """The certificate has been looked at already; who it is for may act as this name, or as itself."""

    def examine(first: bytes | None) -> Examination:
        said = (yield b"") if first is None else first
        return said.decode() in ("", name)

    return examine


def cram_md5(name: str, password: str, challenge: bytes = b"<1896.697@mail.example>") -> Examiner:
    def examine(first: bytes | None) -> Examination:
        said = yield challenge
        expected = hmac.new(password.encode(), challenge, hashlib.md5).hexdigest()
        return said.decode() == f"{name} {expected}"

    return examine


def scram_sha_256(
    name: str, password: str, *, rounds: int = 4096, knows_it: bool = True
) -> Examiner:
    """A server that keeps what RFC 5802 §3 has it keep: salt, StoredKey and ServerKey.

    :param knows_it: False for one that takes any proof and cannot sign itself.
    """
    salt = b"0123456789abcdef"
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    client_key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.new(salted, b"Server Key", hashlib.sha256).digest()

    def examine(first: bytes | None) -> Examination:
        said = ((yield b"") if first is None else first).decode()
        assert said.startswith("n,,")
        bare = said[3:]
        user, nonce = bare.split(",")
        server_first = f"{nonce}server,s={base64.b64encode(salt).decode()},i={rounds}"
        final = (yield server_first.encode()).decode()
        without_proof, _, proof = final.rpartition(",p=")
        assert without_proof == f"c={base64.b64encode(b'n,,').decode()},{nonce}server"
        signed = f"{bare},{server_first},{without_proof}".encode()
        signature = hmac.new(stored_key, signed, hashlib.sha256).digest()
        shown = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
        right = hashlib.sha256(shown).digest() == stored_key and user == f"n={name}"
        if knows_it and not right:
            return False
        key = server_key if knows_it else b"something else"
        yield b"v=" + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
        return True

    return examine


def bearer(*tokens: str, resigned: bytes = b"\x01") -> Examiner:
    """OAUTHBEARER, or XOAUTH2 with an empty ``resigned``: refused, the client hears why and has to answer."""

    def examine(first: bytes | None) -> Examination:
        said = (yield b"") if first is None else first
        fields = dict(part.partition("=")[::2] for part in said.decode().split("\x01") if part)
        if fields["auth"].removeprefix("Bearer ") in tokens:
            return True
        answer = yield b'{"status":"invalid_token","schemes":"bearer"}'
        assert answer == resigned
        return False

    return examine
