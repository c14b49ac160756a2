"""Signatures, checked by another implementation."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as ec_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_outbox.errors import ConfigurationError
from flask_outbox.mail.content import Content
from flask_outbox.mail.dkim import Signer, sign, signing_composer
from flask_outbox.mail.message import Message
from flask_outbox.mail.mime import compose, composed

from .letters import NOW, letter, lines, texts
from .signing import Key, ed25519_key, lend_ed25519, pem, rsa_key

# Of 512 bits, made for this test. Put together here, so that nobody takes it for a secret.
_WEAK_NUMBERS = """
MIIBOwIBAAJBAKc+s0aLG5b8ND126PDC0veuhHHVRdjdXQf5QMuZSk9fgjuJGrXQ
u/2Zq0+xYZ4QWaWgYBWfok/FpqgniNepgMsCAwEAAQJARi9y7sTMFEXM6opvYTJx
dI3heSAGiucC9qisf4TaAYqmSFyRF63vcz5sWZ9cS/59QXNDxA4KhKs2tNjOM/LN
GQIhANx69h6JKO8p0DF4/4MXtk80SDhtnRl1KHpMz+kB46j9AiEAwjA1ElgPC0hm
VuLrQ3oV7mhKxJQCNniL7AJvo4OXf2cCIQCsNQ5PQ2pJgystuQg5aCfpLTjLejIe
VDfNbnll0Sf0MQIgbtRMtfeEPpBHuHcyhwR61+K2KZO/347VbRHG3bARGykCIQDD
a2GRbrJrExncSiKK1ID/EgRVfrY5SdXwPifumqbKmw==
"""
WEAK = "-----BEGIN {0}-----{1}-----END {0}-----\n".format("RSA PRIVATE KEY", _WEAK_NUMBERS)


@pytest.fixture(params=[rsa_key, ed25519_key], ids=["RSA", "Ed25519"])
def key(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Key:
    lend_ed25519(monkeypatch)
    return request.param()


@pytest.fixture
def signed(key: Key) -> bytes:
    message = Message(
        "A subject of words",
        ["Jörg <you@example.net>"],
        "Two  spaces \nand\ttabs\t\n\n\n",
        "<p>ü</p>",
        list_unsubscribe="https://example.org/u/1",
    )
    message.attach("a.bin", data=bytes(range(256)))
    return signing_composer(key.signer)(letter(message))


def tags(content: bytes) -> dict[str, str]:
    name, _, value = content.partition(b"\r\nFrom:")[0].decode().partition(":")
    assert name == "DKIM-Signature"
    pairs = (tag.split("=", 1) for tag in value.split(";"))
    return {name.strip(): "".join(text.split()) for name, text in pairs}


def test_a_signature_is_valid(key: Key, signed: bytes) -> None:
    assert key.verifies(signed)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([rsa_key, ed25519_key]),
    st.builds(
        Message,
        subject=lines,
        recipients=st.tuples(lines, st.just("you@example.net")).map(lambda pair: [pair]),
        body=st.none() | texts,
        html=st.none() | texts,
        extra_headers=st.dictionaries(st.sampled_from(["X-One", "References"]), st.just("<a@b>")),
    ),
)
def test_whatever_is_signed_is_valid(make: object, message: Message) -> None:
    key = make()
    with pytest.MonkeyPatch.context() as monkeypatch:
        lend_ed25519(monkeypatch)
        assert key.verifies(signing_composer(key.signer)(letter(message)))


def test_a_header_beyond_ascii_is_signed_as_it_stands(key: Key) -> None:
    content = signing_composer(key.signer)(letter(recipients=["jörg@example.net"]))
    assert key.verifies(content)


def test_an_empty_body_is_signed(key: Key) -> None:
    assert key.verifies(signing_composer(key.signer)(letter(body="")))


def test_a_raw_message_is_signed_as_it_leaves(key: Key) -> None:
    raw = dataclasses.replace(letter(), raw=b"From: me@example.org\nSubject: x\n\nbody\n.\nmore")
    content = signing_composer(key.signer)(raw)
    assert content.endswith(b"\r\n\r\nbody\r\n.\r\nmore\r\n")
    assert key.verifies(content)


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (b"Subject: A subject of", b"Subject:   A subject \r\n of"),
        (b"\r\nSubject:", b"\r\nSUBJECT:\t"),
        (b"Two  spaces \r\n", b"Two spaces\r\n"),
        (
            b"_mixed_0197f3a2c4d57e1f8a9b0c1d2e3f4a5b--\r\n",
            b"_mixed_0197f3a2c4d57e1f8a9b0c1d2e3f4a5b--\r\n\r\n",
        ),
    ],
)
def test_new_folds_and_spaces_on_the_way_do_no_harm(
    key: Key, signed: bytes, sent: bytes, received: bytes
) -> None:
    assert sent in signed
    assert key.verifies(signed.replace(sent, received))


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (b"Subject: A subject", b"Subject: Another subject"),
        (b"Two  spaces", b"Three  spaces"),
        (b"\r\nList-Unsubscribe: <https:", b"\r\nList-Unsubscribe: <http:"),
        (b"\r\nContent-Type: multipart/mixed", b"\r\nContent-Type: multipart/related"),
    ],
)
def test_what_is_changed_on_the_way_is_seen(
    key: Key, signed: bytes, sent: bytes, received: bytes
) -> None:
    assert signed.count(sent) == 1
    assert not key.verifies(signed.replace(sent, received))


@pytest.mark.parametrize(
    "added",
    [
        "From: you@example.net",
        "To: you@example.net",
        "Cc: you@example.net",
        "Reply-To: you@example.net",
        "Subject: Another",
        "Date: Tue, 01 Jul 2025 10:39:17 +0000",
        "Message-ID: <x@example.net>",
        "Content-Type: text/html",
        "List-Unsubscribe: <https://example.net/>",
    ],
)
def test_a_header_that_is_added_on_the_way_is_seen(key: Key, signed: bytes, added: str) -> None:
    assert not key.verifies(f"{added}\r\n".encode() + signed)


def test_a_letter_is_signed_alike_at_each_try(key: Key) -> None:
    sealed = letter(subject="Grüße", body="text")
    compose_signed = signing_composer(key.signer)
    assert compose_signed(dataclasses.replace(sealed)) == compose_signed(sealed)


def test_the_signature_stands_before_the_message_as_it_was(key: Key) -> None:
    sealed = letter()
    content = compose(sealed)
    field = sign(content, key.signer, sealed.date)
    assert signing_composer(key.signer)(sealed) == field + content
    assert field.endswith(b"\r\n")
    assert max(map(len, field.split(b"\r\n"))) <= 76


@pytest.mark.parametrize("end", [b"", b"\r\n" * 200_000, b" \t\r\n" * 200_000, b"\r\nend\r\n"])
def test_a_large_letter_is_signed_as_if_it_were_whole(key: Key, end: bytes) -> None:
    raw = b"Subject: x\r\n\r\n" + b"two  spaces \t\r\n\r\n" * 40_000 + end
    sealed = dataclasses.replace(letter(), raw=raw)
    made = composed(sealed)
    assert isinstance(made, Content)
    assert sign(made, key.signer, NOW) == sign(compose(sealed), key.signer, NOW)
    content = bytes(signing_composer(key.signer)(sealed))
    assert content == sign(made, key.signer, sealed.date) + compose(sealed)
    assert key.verifies(content)


def test_an_empty_body_and_one_of_empty_lines_have_the_hash_of_nothing(key: Key) -> None:
    fields = {sign(b"From: a\r\n\r\n" + body, key.signer, 1) for body in (b"", b"\r\n" * 3)}
    assert len(fields) == 1


def test_the_tags_say_who_signed_what_and_when(signed: bytes) -> None:
    found = tags(signed)
    assert (found["v"], found["c"], found["t"]) == ("1", "relaxed/relaxed", str(int(NOW)))
    assert (found["d"], found["s"]) == ("example.org", "mail2025")
    names = found["h"].split(":")
    assert names.count("from") == names.count("subject") == 2
    assert {"list-unsubscribe", "list-unsubscribe-post", "mime-version", "to", "date"} <= {*names}


def test_the_algorithm_is_the_keys() -> None:
    assert rsa_key().signer.algorithm == "rsa-sha256"
    assert ed25519_key().signer.algorithm == "ed25519-sha256"


def test_a_key_may_be_bytes() -> None:
    signer = ed25519_key().signer
    again = Signer(signer.domain, signer.selector, str(signer.key).encode())
    assert sign(b"From: a\r\n\r\n", again, 1) == sign(b"From: a\r\n\r\n", signer, 1)


def test_a_domain_is_written_in_ascii() -> None:
    assert Signer("BÜCHER.example", "s", ed25519_key().signer.key).domain == "xn--bcher-kva.example"


def test_the_key_is_not_shown() -> None:
    assert "PRIVATE" not in repr(ed25519_key().signer)


def _unfit_keys() -> Iterator[tuple[str, str]]:
    elliptic = pem(ec_key(SECP256R1()))
    with_passphrase = load_pem_private_key(elliptic.encode(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    yield "nothing", ""
    yield "no PEM", "/etc/dkim/missing.pem"
    yield "beyond ASCII", "schlüssel"
    yield "another kind", elliptic
    yield "a passphrase", with_passphrase.decode()
    yield "cut short", str(ed25519_key().signer.key)[:60]


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in _unfit_keys()])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="'MAIL_DKIM_KEY' must be a private key in PEM"):
        Signer("example.org", "s", text)


def test_a_key_that_receivers_do_not_take_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'MAIL_DKIM_KEY' has 512 bits.* of 2048"):
        Signer("example.org", "s", WEAK)


@pytest.mark.parametrize("domain", ["", "a b", "me@example.org", "[127.0.0.1]", "x\r\ny", "a..b"])
def test_what_is_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(ConfigurationError, match="'MAIL_DKIM_DOMAIN' must be a domain"):
        Signer(domain, "s", ed25519_key().signer.key)


@pytest.mark.parametrize("selector", ["", "a b", "a;b", "a.", "ü", "a\n"])
def test_what_is_no_selector_is_refused(selector: str) -> None:
    with pytest.raises(ConfigurationError, match="'MAIL_DKIM_SELECTOR' must be the name"):
        Signer("example.org", selector, ed25519_key().signer.key)


def test_without_cryptography_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'Flask-Outbox\[crypto\]'"):
        Signer("example.org", "s", "")
