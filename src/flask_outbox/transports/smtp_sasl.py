"""SASL as a client speaks it: what is said to log in, given what the server says. Pure; chance comes in as an argument.

Each mechanism is an :class:`Exchange`. How its words travel (base64, AUTH, 334) is the protocol's business.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import stringprep
import unicodedata
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

#: PBKDF2's rounds (RFC 7677 §4 wants 4,096 at least). A server that asks for more would have us compute for seconds.
_ROUNDS = range(4_096, 1_000_001)


class SaslError(Exception):
    """The server says what does not fit the mechanism, or cannot prove who it is. The text is fit for a log."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who logs in.

    :param secret: the password, or the token of OAuth.
    :param nonce: printable, without a comma, never used before.
    :param host: and ``port``: where the server is thought to be (RFC 7628 §3.1).
    """

    username: str = ""
    secret: str = field(default="", repr=False)
    nonce: str = ""
    host: str = ""
    port: int = 0


class Exchange(ABC):
    """One login by one mechanism."""

    #: Whether an answer takes so much computing that an event loop should not wait for it.
    slow: ClassVar[bool] = False

    def __init__(self, who: Credentials) -> None:
        self.who = who
        #: What the client says first, until it is said: with AUTH, or in answer to an empty challenge. None where
        #: the server speaks first.
        self.unsaid: bytes | None = None
        #: Why the server refused, where the mechanism lets it say so.
        self.remark = ""

    @property
    def complete(self) -> bool:
        """Whether the server may say now that all is well."""
        return True

    def respond(self, challenge: str) -> bytes:
        """The answer to a challenge, which is base64 as it came.

        :raises SaslError: give up.
        """
        if self.unsaid is None:
            return self._answer(challenge)
        said, self.unsaid = self.unsaid, None
        return said

    @abstractmethod
    def _answer(self, challenge: str) -> bytes: ...


class _OneWord(Exchange):
    """All is said at once."""

    def _answer(self, challenge: str) -> bytes:
        raise SaslError("the server asks for more than there is to say")


class Plain(_OneWord):
    """RFC 4616."""

    def __init__(self, who: Credentials) -> None:
        super().__init__(who)
        self.unsaid = f"\0{who.username}\0{who.secret}".encode()


class External(_OneWord):
    """RFC 4422, appendix A: the client's certificate says who it is; a user name, as whom it wants to act."""

    def __init__(self, who: Credentials) -> None:
        super().__init__(who)
        self.unsaid = who.username.encode()


class Login(Exchange):
    """Never more than a draft, and some servers know nothing else. What they ask is not always base64."""

    def __init__(self, who: Credentials) -> None:
        super().__init__(who)
        self._words = [who.username, who.secret]

    def _answer(self, challenge: str) -> bytes:
        if not self._words:
            raise SaslError("the server asks for more than there is to say")
        return self._words.pop(0).encode()


class CramMd5(Exchange):
    """RFC 2195."""

    _answered = False

    def _answer(self, challenge: str) -> bytes:
        if self._answered:
            raise SaslError("the server asks for more than there is to say")
        self._answered = True
        try:
            digest = hmac.digest(self.who.secret.encode(), _decoded(challenge), "md5").hex()
        except ValueError as error:
            raise SaslError("CRAM-MD5: this machine's OpenSSL allows no MD5") from error
        return f"{self.who.username} {digest}".encode()


class ScramSha256(Exchange):
    """RFC 5802 and RFC 7677, without channel binding: Python does not give TLS 1.3's."""

    slow = True

    def __init__(self, who: Credentials) -> None:
        super().__init__(who)
        name = saslprep(who.username)
        self._first = f"n={_sasl_name(name)},r={who.nonce}"
        self.unsaid = f"n,,{self._first}".encode()
        self._signature: bytes | None = None
        self._proven = False

    @property
    def complete(self) -> bool:
        return self._proven

    def _answer(self, challenge: str) -> bytes:
        said = _decoded(challenge).decode("utf-8", "replace")
        if self._signature is None:
            return self._prove(said)
        attributes = _attributes(said)
        # RFC 5802 §5.1: "e=" says why, "v=" is what only someone who knows the password can say.
        if "e" in attributes:
            raise SaslError(f"SCRAM-SHA-256: {attributes['e']}")
        signature = _decoded(attributes.get("v", ""))
        if self._proven or not hmac.compare_digest(signature, self._signature):
            raise SaslError("SCRAM-SHA-256: the server cannot prove that it knows the password")
        self._proven = True
        return b""

    def _prove(self, said: str) -> bytes:
        """The message that proves who we are; what the server has to prove in turn is noted."""
        nonce, salt, rounds = self._asked(said)
        password = saslprep(self.who.secret).encode()
        salted = hashlib.pbkdf2_hmac("sha256", password, salt, rounds)
        # "biws" is "n,,": what stood before the first message (RFC 5802 §7).
        final = f"c=biws,r={nonce}"
        signed = f"{self._first},{said},{final}".encode()
        key = _hmac(salted, b"Client Key")
        signature = _hmac(hashlib.sha256(key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        self._signature = _hmac(_hmac(salted, b"Server Key"), signed)
        return f"{final},p={base64.b64encode(proof).decode()}".encode()

    def _asked(self, said: str) -> tuple[str, bytes, int]:
        """Nonce, salt and rounds of the server's first message."""
        attributes = _attributes(said)
        nonce, rounds = attributes.get("r", ""), attributes.get("i", "")
        salt = _decoded(attributes.get("s", ""))
        own = self.who.nonce
        # RFC 5802 §5.1: "m=" is an extension that must be understood.
        if "m" in attributes or not nonce.startswith(own) or nonce == own or not salt:
            raise SaslError("SCRAM-SHA-256: the server's first message is no answer to ours")
        if not (
            rounds.isascii() and rounds.isdigit() and len(rounds) < 9 and int(rounds) in _ROUNDS
        ):
            raise SaslError("SCRAM-SHA-256: the server asks for too few rounds, or too many")
        return nonce, salt, int(rounds)


class _Bearer(Exchange):
    """A token of OAuth 2. Refused, the server says why first, and wants an answer before it ends the exchange."""

    #: What is said to that.
    _resigned: ClassVar[bytes]

    def _answer(self, challenge: str) -> bytes:
        if self.remark:
            raise SaslError("the server asks for more than there is to say")
        try:
            said = json.loads(_decoded(challenge))
        except ValueError:
            said = None
        status = said.get("status") if isinstance(said, dict) else None
        self.remark = f"the token was refused: {status}" if status else "the token was refused"
        return self._resigned


class OAuthBearer(_Bearer):
    """RFC 7628."""

    _resigned = b"\x01"

    def __init__(self, who: Credentials) -> None:
        super().__init__(who)
        self.unsaid = (
            f"n,a={_sasl_name(who.username)},\x01host={who.host}\x01port={who.port}"
            f"\x01auth=Bearer {who.secret}\x01\x01"
        ).encode()


class XOAuth2(_Bearer):
    """https://developers.google.com/gmail/imap/xoauth2-protocol, which Microsoft speaks too."""

    _resigned = b""

    def __init__(self, who: Credentials) -> None:
        super().__init__(who)
        self.unsaid = f"user={who.username}\x01auth=Bearer {who.secret}\x01\x01".encode()


#: Mechanism -> exchange, in the order of preference where nothing is set. PLAIN before those that do not show the
#: password: TLS protects it, and many servers that announce the others have no password in the form they need.
MECHANISMS: dict[str, type[Exchange]] = {
    "OAUTHBEARER": OAuthBearer,
    "XOAUTH2": XOAuth2,
    "PLAIN": Plain,
    "LOGIN": Login,
    "SCRAM-SHA-256": ScramSha256,
    "CRAM-MD5": CramMd5,
    "EXTERNAL": External,
}

#: Those that take a token instead of a password.
BEARER = frozenset({"OAUTHBEARER", "XOAUTH2"})


def saslprep(text: str) -> str:
    """Text in the form of RFC 4013; as it is where that form does not allow it, as others do who must log in."""
    if text.isascii():
        return text
    mapped = (
        " " if stringprep.in_table_c12(char) else char
        for char in text
        if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", "".join(mapped))
    return prepared if _allowed(prepared) else text


def _allowed(text: str) -> bool:
    """Whether RFC 4013 §2.3 to §2.5 have nothing against it."""
    if any(prohibits(char) for char in text for prohibits in _PROHIBITED):
        return False
    if not any(map(stringprep.in_table_d1, text)):
        return True
    # RFC 3454 §6: letters from right to left stand at both ends and suffer no others beside them.
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return ends and not any(map(stringprep.in_table_d2, text))


_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def _sasl_name(name: str) -> str:
    """RFC 5801 §4: comma and "=" have a meaning there."""
    return name.replace("=", "=3D").replace(",", "=2C")


def _attributes(message: str) -> dict[str, str]:
    """A SCRAM message by the letters of its attributes."""
    return {part[0]: part[2:] for part in message.split(",") if part[1:2] == "="}


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SaslError("the server's challenge is not base64") from error


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
