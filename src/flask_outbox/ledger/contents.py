"""How contents and attachments stand in rows: as they are, or encrypted where ``MAIL_OUTBOX_KEY`` is set.

A content is JSON, and encrypted it is base64: the first byte tells them apart. Attachments have the digest of their
data for a name, and encrypted ones another: whoever looks for one finds it under the name that it has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from ..errors import OutboxError
from ..mail.letter import Letter
from .cipher import LENGTH, TEXT, Cipher, UnknownKeyError, Vault, content_of
from .engine import Database
from .statements import statements_for

#: Under which name the key of the names is stored.
NAMING = "names of attachments"


class Contents:
    """Writes and reads them. Making one opens nothing.

    :param keys: of ``MAIL_OUTBOX_KEY``; without any, nothing is encrypted.
    """

    def __init__(self, database: Database, keys: Sequence[bytes] = ()) -> None:
        self._database = database
        self.cipher: Cipher | None = Cipher(keys) if keys else None
        self._vault: Vault | None = None

    def vault(self) -> Vault | None:
        """What a send needs, or None where nothing is encrypted.

        :raises OutboxError: the outbox was encrypted under other keys, or could not be read.
        """
        if self._vault is None and self.cipher is not None:
            try:
                self._vault = Vault(
                    self.cipher, self._naming(self.cipher) or self._new(self.cipher)
                )
            except UnknownKeyError as error:
                raise OutboxError(
                    "The outbox is encrypted, and none of the keys in MAIL_OUTBOX_KEY reads it: add the one that was"
                    " used before behind the others."
                ) from error
        return self._vault

    def _naming(self, cipher: Cipher) -> bytes | None:
        with self._database.glance() as line:
            for row in statements_for(line.dialect).find_secret(line, name=NAMING):
                return cipher.open(bytes(row.value), NAMING)
        return None

    def _new(self, cipher: Cipher) -> bytes:
        made = cipher.seal(os.urandom(LENGTH), NAMING)
        with self._database.direct(durable=True) as line:
            statements_for(line.dialect).insert_secret(line, name=NAMING, value=made)
        found = self._naming(cipher)  # another process may have been first
        if found is None:
            raise OutboxError("The outbox does not keep what was just stored in it.")
        return found

    def is_foreign(self) -> bool:
        """Whether the outbox is encrypted by keys of which none is among these, so that no send is taken.

        :raises OutboxError: it could not be read.
        """
        try:
            if self.cipher is not None:
                self._naming(self.cipher)
        except UnknownKeyError:
            return True
        return False

    def reads(self, head: bytes) -> bool:
        """Whether there is a key for what is stored and begins so."""
        return not head.startswith(TEXT) or (self.cipher is not None and self.cipher.wrote(head))

    def read(self, letter_id: str, stored: bytes, blobs: Mapping[str, bytes]) -> Letter:
        """A letter.

        :param blobs: what the rows of its attachments hold.
        :raises UnknownKeyError: it is encrypted, and none of the keys reads it.
        :raises ValueError: it cannot be read for another reason.
        """
        if not stored.startswith(TEXT):
            return Letter.from_json(stored.decode(), self._attachments(blobs))
        if self.cipher is None:
            raise UnknownKeyError("It is encrypted, and MAIL_OUTBOX_KEY is not set.")
        content = content_of(self.cipher, letter_id, stored)
        return Letter.from_json(content.decode(), self._attachments(blobs))

    def _attachments(self, blobs: Mapping[str, bytes]) -> Mapping[str, bytes]:
        return _Attachments(self, blobs) if blobs and self.cipher is not None else blobs

    def attachment(self, digest: str, blobs: Mapping[str, bytes]) -> bytes:
        """An attachment by the digest of its data.

        :raises KeyError: it is not among them.
        :raises UnknownKeyError: none of the keys reads it.
        """
        if digest in blobs:
            return blobs[digest]
        if self._vault is None and self.cipher is not None:
            self._vault = self._found(self.cipher)
        if self._vault is None:
            raise KeyError(digest)
        return self._vault.opened(digest, blobs)

    def _found(self, cipher: Cipher) -> Vault | None:
        naming = self._naming(cipher)
        return None if naming is None else Vault(cipher, naming)


class _Attachments(Mapping[str, bytes]):
    """Attachments by the digests of their data, each decrypted when it is asked for."""

    def __init__(self, contents: Contents, blobs: Mapping[str, bytes]) -> None:
        self._contents = contents
        self._blobs = blobs

    def __getitem__(self, digest: str) -> bytes:
        return self._contents.attachment(digest, self._blobs)

    def __iter__(self) -> Iterator[str]:
        return iter(self._blobs)

    def __len__(self) -> int:
        return len(self._blobs)
