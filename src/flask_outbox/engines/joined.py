"""Letters of the outbox that have joined a transaction of the application, and what follows when it ends.

All of it is called within somebody else's commit, rollback or close, which must not fail for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import MailError
from ..mail.letter import Letter, Terms
from .base import Receipt

logger = logging.getLogger("flask_outbox")


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What an outbox does with letters that joined, once they are committed or lost.

    :param add: stores letters in a transaction of their own.
    :param announce: told of each letter that is stored.
    :param announce_loss: told of each letter that is lost.
    :param wake: lets the workers know of letters; with True also those whom only the database can reach.
    """

    add: Callable[[Sequence[tuple[Letter, Terms]]], object]
    announce: Callable[[Letter], object]
    announce_loss: Callable[[Letter], object]
    wake: Callable[[Sequence[tuple[Letter, Terms]], bool], object]


@dataclass(frozen=True, slots=True)
class JoinedLetters:
    """The letters of one send.

    :param by: who has sent them.
    :param stored: whether they are rows of that transaction, and not to be stored after it.
    :param told: whether the workers are told by its commit.
    """

    batch: Sequence[tuple[Letter, Terms]]
    receipts: Sequence[Receipt]
    aftermath: Aftermath
    by: str
    stored: bool
    told: bool

    def committed(self) -> None:
        """They are to be sent."""
        if self.stored or self._add("after the commit of the transaction that it joined"):
            self._queued(quiet=self.stored and not self.told)

    def lost(self) -> None:
        """They are gone."""
        for letter, _ in self.batch:
            logger.warning("letter %s is not sent: its transaction was rolled back", letter.id)
            _tell(self.aftermath.announce_loss, letter)

    def left(self) -> None:
        """They are stored by themselves."""
        if self._add("after its transaction was left"):
            for letter, _ in self.batch:
                logger.warning(
                    "letter %s is sent, although %s neither committed nor rolled back the transaction that it joined:"
                    " commit there, or send with session=None",
                    letter.id,
                    self.by,
                )
            self._queued(quiet=False)

    def _add(self, when: str) -> bool:
        try:
            self.aftermath.add(self.batch)
        except MailError as error:
            for letter, _ in self.batch:
                logger.error(
                    "letter %s is lost: it could not be stored %s: %s", letter.id, when, error
                )
                _tell(self.aftermath.announce_loss, letter)
            return False
        return True

    def _queued(self, *, quiet: bool) -> None:
        for receipt in self.receipts:
            # Frozen for those who are given it.
            object.__setattr__(receipt, "durable", True)
        for letter, terms in self.batch:
            if not terms.hold:
                _tell(self.aftermath.announce, letter)
        try:
            self.aftermath.wake(self.batch, quiet)
        except MailError as error:
            logger.warning("the workers were not told of a letter, and find it later: %s", error)


def _tell(announce: Callable[[Letter], object], letter: Letter) -> None:
    try:
        announce(letter)
    except Exception:
        # User code: its failure is its own, the transaction is over already.
        logger.exception("a receiver failed for letter %s", letter.id)
