"""A transport that writes files: a folder of .eml files, or a maildir that any mail reader opens.

A file is complete before it has its name, and on disk before the letter counts as sent. Before the message stand
the fields that a delivery adds: ``Return-Path``, and a ``Delivered-To`` for each recipient of the envelope.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import chain, count
from pathlib import Path

from ..mail.content import Composed, pieces
from ..mail.letter import Letter
from ..mail.mime import composed
from ..rules.outcomes import Kind, Outcome, Phase, Report, Scope
from ..rules.replies import one_line
from .base import Clearance, Transport


class FileTransport(Transport):
    """Writes each letter into a file of its own.

    :param folder: made where it is missing.
    :param maildir: whether it is a maildir; else a folder of .eml files named by the letters' ids.
    :param composer: gives a letter's bytes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        maildir: bool = False,
        composer: Callable[[Letter], Composed] = composed,
    ) -> None:
        self._finished = folder / "new" if maildir else folder
        self._unfinished = folder / "tmp" if maildir else folder
        self._folders = (
            folder,
            *((folder / name for name in ("tmp", "new", "cur")) if maildir else ()),
        )
        self._suffix = "" if maildir else ".eml"
        self._compose = composer

    async def deliver(self, letter: Letter, to: tuple[str, ...], clearance: Clearance) -> Report:
        """Write it."""
        if not clearance.valid() or not await clearance.content():
            return Report()
        fields = [f"Return-Path: <{letter.envelope_from}>", *(f"Delivered-To: {one}" for one in to)]
        head = "".join(f"{field}\r\n" for field in fields).encode()
        try:
            content = chain((head,), pieces(self._compose(letter)))
            name = self._write(f"{letter.date}.{letter.id}", content)
        except OSError as error:
            text = one_line(f"{error.filename or self._finished}: {error.strerror}")
            return Report.of(to, Outcome(Kind.DEFERRED, Scope.TRANSPORT, text=text))
        return Report.of(to, Outcome(Kind.ACCEPTED, phase=Phase.AFTER, text=f"written to {name}"))

    async def aclose(self) -> None:
        """Nothing is held open."""

    def _write(self, stem: str, content: Iterable[bytes]) -> str:
        """Give the content the first name that is free: a second try, for those still open, is a second file."""
        for folder in self._folders:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = self._unfinished / f".{stem}.{os.getpid()}"
        with unfinished.open("wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        for number in count(1):
            name = f"{stem}{f'-{number}' if number > 1 else ''}{self._suffix}"
            try:
                # Unlike a renaming, a link takes no name that another has.
                os.link(unfinished, self._finished / name)
            except FileExistsError:
                continue
            break
        unfinished.unlink()
        return name
