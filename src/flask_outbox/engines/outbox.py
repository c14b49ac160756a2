"""The outbox engine: stores the letter and returns; a worker, in this process or another, delivers it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import copy_context

from ..delivery.process import STORE, Process
from ..delivery.wakeup import Bell
from ..errors import OutboxError
from ..ledger.batches import given_up
from ..ledger.joining import Joining, NotJoinable
from ..ledger.joining import tell as tell_workers
from ..ledger.reports import MessageView
from ..ledger.store import Store
from ..mail.letter import Letter, Terms
from .base import Engine, Receipt
from .joined import Aftermath, JoinedLetters

logger = logging.getLogger("flask_outbox")


_Batch = Sequence[tuple[Letter, Terms]]


class OutboxEngine(Engine):
    """Durable: once :meth:`submit` returned, the letter survives a crash of everything.

    :param find: looks a stored message up by its id.
    :param announce: told of each stored letter.
    :param announce_loss: told of each letter whose transaction was rolled back.
    """

    group = 500
    stores = writes = True

    def __init__(
        self,
        store: Store,
        process: Process,
        bell: Bell | None,
        *,
        find: Callable[[str], MessageView | None],
        announce: Callable[[Letter], object],
        announce_loss: Callable[[Letter], object],
    ) -> None:
        self._store = store
        self._process = process
        self._bell = bell
        self._find = find
        self._warned = False
        self._announce = announce
        self._aftermath = Aftermath(
            lambda batch: store.add(batch, store.now()), announce, announce_loss, self._wake
        )

    def submit(self, batch: _Batch) -> list[Receipt]:
        """Store the letters in one transaction of their own.

        :raises OutboxError: they could not be stored; none of them was.
        """
        ids = self._store.add(batch, self._store.now())
        self._wake(batch)
        return [
            self._receipt(letter, terms, stored)
            for (letter, terms), stored in zip(batch, ids, strict=True)
        ]

    def _wake(self, batch: _Batch, quiet: bool = False) -> None:
        """Letters were stored.

        :param quiet: whether no worker was told by the statement that stored them.
        """
        self._warn_once()
        self._process.ensure_worker()
        if self._process.stuck():
            logger.error(
                "the mail worker thread has been stuck for over 10 seconds. A process patched by eventlet, and uWSGI"
                " without --enable-threads, do not run it: set MAIL_WORKER='external' and run 'flask mail worker'."
            )
        if self._bell is not None:
            self._bell.ring()
        elif quiet:
            tell_workers(self._store)

    def go(self, letters: Sequence[str]) -> None:
        """Letters are in the queue again."""
        self._process.ensure_worker()

    def _published(self, batch: str) -> None:
        """A batch that was kept aside is in the queue."""
        if self._bell is not None:
            self._bell.ring()

    def join(self, batch: _Batch, joining: Joining) -> list[Receipt]:
        """Store the letters with the transaction of a session; by themselves where it has failed.

        :raises OutboxError: they could not be stored; the transaction may have failed by it.
        :raises MessageError: a key was used for another content.
        """
        try:
            stored = joining.store(self._store, batch)
        except NotJoinable as error:
            for letter, _ in batch:
                logger.warning(
                    "letter %s does not join the transaction of %s, and is sent whatever becomes of that: %s",
                    letter.id,
                    joining.by,
                    error,
                )
            return self.submit(batch)
        receipts: list[Receipt] = []
        mine: list[tuple[Letter, Terms]] = []
        own: list[Receipt] = []
        for (letter, terms), id in zip(batch, stored.ids, strict=True):
            if id == letter.id:
                mine.append((letter, terms))
                state = "held" if terms.hold else "queued"
                own.append(Receipt(id, letter.message_id, state, durable=False))
                receipts.append(own[-1])
            else:
                receipts.append(joining.receipt(id) or self._receipt(letter, terms, id))
        if mine:
            joining.keep(
                JoinedLetters(mine, own, self._aftermath, joining.by, stored.rows, stored.told)
            )
        return receipts

    def begin(self, batch: _Batch) -> Future[list[Receipt]]:
        """Store the letters by a thread of its own."""
        return self._process.thread(STORE).submit(copy_context().run, self.submit, batch)

    @contextmanager
    def atomic(self, batch: str) -> Iterator[None]:
        """Keep the letters of a batch aside until all of them are stored.

        :raises OutboxError: it was not published.
        """
        batches = self._store.batches
        batches.begin(batch, self._store.now())
        try:
            yield
            if not batches.decide(batch, "published"):
                raise given_up(batch)
        except BaseException:
            self._give_up(batch)
            raise
        try:
            batches.carry_out(batch, "published", self._store.now())
        except OutboxError as error:
            logger.error("the rest of batch %s is left to the worker: %s", batch, error)
        self._published(batch)

    def _give_up(self, batch: str) -> None:
        try:
            if self._store.batches.decide(batch, "discarded"):
                self._store.batches.carry_out(batch, "discarded", self._store.now())
        except OutboxError as error:
            logger.warning("what is left of batch %s is not sent, but stays: %s", batch, error)

    def _warn_once(self) -> None:
        if not self._warned:
            self._warned = True
            if warning := self._store.warning():
                logger.warning(warning)

    def _receipt(self, letter: Letter, terms: Terms, stored: str) -> Receipt:
        if stored == letter.id:
            if terms.hold:
                logger.warning("letter %s is held: %s", letter.id, terms.hold)
                return Receipt(letter.id, letter.message_id, "held", durable=True)
            self._announce(letter)
            return Receipt(letter.id, letter.message_id, "queued", durable=True)
        first = self._find(stored)
        if first is None:  # the key outlives its message
            return Receipt(stored, "", "sent", durable=True)
        return Receipt(first.id, first.message_id, first.state, durable=True)
