"""What is encrypted is read by its key, in its place, and by nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.ledger.cipher import TEXT, Cipher, UnknownKeyError, Vault, content_of

ONE, TWO, THREE = bytes(32), bytes([1]) * 32, bytes([2]) * 32

data = st.binary(max_size=300)
names = st.text(max_size=40)
keys = st.lists(st.sampled_from([ONE, TWO, THREE]), min_size=1, unique=True)


@given(data, names, keys)
def test_what_the_first_key_encrypts_every_order_of_keys_reads(
    data: bytes, of: str, keys: list[bytes]
) -> None:
    sealed = Cipher(keys).seal(data, of)
    assert Cipher(keys[::-1]).open(sealed, of) == data


@given(data, keys)
def test_without_its_key_nothing_is_read(data: bytes, keys: list[bytes]) -> None:
    sealed = Cipher(keys).seal(data, "x")
    others = [key for key in (ONE, TWO, THREE) if key != keys[0]]
    with pytest.raises(UnknownKeyError):
        Cipher(others).open(sealed, "x")


@given(data, names, names)
def test_what_was_moved_elsewhere_is_not_read(data: bytes, of: str, other: str) -> None:
    sealed = Cipher([ONE]).seal(data, of)
    if of != other:
        with pytest.raises(UnknownKeyError):
            Cipher([ONE]).open(sealed, other)


@given(data, st.data())
def test_what_was_changed_in_any_bit_is_not_read(data: bytes, draw: st.DataObject) -> None:
    sealed = bytearray(Cipher([ONE]).seal(data, "x"))
    at = draw.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(UnknownKeyError):
        Cipher([ONE]).open(bytes(sealed), "x")


@given(st.binary(max_size=60))
def test_what_is_no_encryption_at_all_is_refused_in_the_same_way(data: bytes) -> None:
    with pytest.raises(UnknownKeyError):
        Cipher([ONE]).open(data, "x")


@given(data)
def test_the_same_text_is_never_encrypted_alike(data: bytes) -> None:
    cipher = Cipher([ONE])
    assert cipher.seal(data, "x") != cipher.seal(data, "x")


@given(st.text())
def test_a_content_is_ascii_and_read_again(text: str) -> None:
    cipher = Cipher([ONE])
    stored = Vault(cipher, TWO).content("1", text.encode())
    assert stored.isascii()
    assert stored.startswith(TEXT)
    assert content_of(cipher, "1", stored) == text.encode()


def test_names_are_the_same_under_any_key_and_others_in_another_outbox() -> None:
    first = Vault(Cipher([ONE]), TWO).name("digest")
    assert Vault(Cipher([THREE, ONE]), TWO).name("digest") == first
    assert Vault(Cipher([ONE]), THREE).name("digest") != first


def test_a_cipher_shows_no_key() -> None:
    cipher = Cipher([TWO])
    assert not any(
        TWO.hex() in shown or repr(TWO) in shown for shown in (repr(cipher), str(cipher))
    )
