"""The engine of a task queue: the outbox, whose letters are sent by tasks that name them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from ..delivery.process import Process
from ..delivery.relay import GROUP
from ..ledger.reports import MessageView
from ..ledger.store import Store
from ..mail.letter import Letter, Terms
from .dispatch import Dispatcher
from .outbox import OutboxEngine

_Batch = Sequence[tuple[Letter, Terms]]


class TaskEngine(OutboxEngine):
    """As durable as the outbox, and what sends is a task queue: its tasks name letters that are due.

    :param of_batch: the ids of the stored letters of a batch.
    """

    def __init__(
        self,
        store: Store,
        process: Process,
        dispatcher: Dispatcher,
        *,
        find: Callable[[str], MessageView | None],
        of_batch: Callable[[str], Iterator[str]],
        announce: Callable[[Letter], object],
        announce_loss: Callable[[Letter], object],
    ) -> None:
        super().__init__(
            store, process, None, find=find, announce=announce, announce_loss=announce_loss
        )
        self._dispatcher = dispatcher
        self._of_batch = of_batch

    def _wake(self, batch: _Batch, quiet: bool = False) -> None:
        self._warn_once()
        due: defaultdict[int, list[str]] = defaultdict(list)
        for letter, terms in batch:
            # Of what is due later, or held, the relay tells when it is time.
            if not terms.hold and terms.due is None:
                due[terms.priority].append(letter.id)
        for priority, ids in due.items():
            self._dispatcher.put(ids, priority)

    def go(self, letters: Sequence[str]) -> None:
        """Letters are in the queue again."""
        self._dispatcher.put(letters, 1)

    def _published(self, batch: str) -> None:
        ids = self._of_batch(batch)
        while group := list(islice(ids, GROUP)):
            self._dispatcher.put(group, 1)
