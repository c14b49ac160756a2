"""Stands before the other engines where mail may not go to everyone: redirects letters, or holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from ..mail.headers import verbatim
from ..mail.letter import Letter, Terms
from ..rules.staging import Staging
from .base import Engine, Receipt

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..ledger.joining import Joining


def staged(engines: Mapping[str, Engine], staging: Staging) -> Mapping[str, Engine]:
    """The engines, behind what the settings say of where mail may go."""
    if not staging:
        return engines
    return {name: StagedEngine(engine, staging) for name, engine in engines.items()}


class StagedEngine(Engine):
    """Stands before an engine, so that none is given a letter for someone whom it must not reach."""

    def __init__(self, engine: Engine, staging: Staging) -> None:
        self._engine = engine
        self._staging = staging
        self.group, self.stores, self.writes = engine.group, engine.stores, engine.writes

    def submit(self, batch: Sequence[tuple[Letter, Terms]]) -> list[Receipt]:
        """Redirect or hold the letters as the settings say, and hand them on."""
        return self._engine.submit([self._stage(letter, terms) for letter, terms in batch])

    def join(self, batch: Sequence[tuple[Letter, Terms]], joining: Joining) -> list[Receipt]:
        """The same, as a part of the transaction of a session."""
        return self._engine.join([self._stage(letter, terms) for letter, terms in batch], joining)

    def begin(self, batch: Sequence[tuple[Letter, Terms]]) -> Future[list[Receipt]]:
        """The same, for a caller who must not wait."""
        return self._engine.begin([self._stage(letter, terms) for letter, terms in batch])

    def atomic(self, batch: str) -> AbstractContextManager[None]:
        """As the engine does it."""
        return self._engine.atomic(batch)

    def _stage(self, letter: Letter, terms: Terms) -> tuple[Letter, Terms]:
        to = self._staging.envelope(letter.envelope_to)
        if to != letter.envelope_to:
            letter = _redirected(letter, to)
        if objection := self._staging.objection(to):
            terms = replace(terms, hold=objection)
        return letter, terms


def _redirected(letter: Letter, to: tuple[str, ...]) -> Letter:
    """The letter for others, with a header that says for whom it was."""
    field = ("X-Original-To", ", ".join(letter.envelope_to))
    if letter.raw is not None:
        return replace(letter, envelope_to=to, raw=verbatim(*field).encode() + letter.raw)
    return replace(letter, envelope_to=to, headers=(*letter.headers, field))
