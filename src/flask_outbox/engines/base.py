"""The contract of an engine: when and where the sending runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..ledger.joining import Joining
    from ..mail.letter import Letter, Terms


@dataclass(frozen=True, slots=True)
class Receipt:
    """What ``mail.send`` returns.

    :param id: the letter's id, for ``mail.get``.
    :param message_id: the Message-ID header, with angle brackets.
    :param state: the delivery's state when ``send`` returned: ``"queued"``, ``"sent"``, ``"held"``,
        ``"suppressed"``.
    :param durable: whether the letter would survive a crash at this moment. Of one that joined a transaction it
        becomes true once that is committed.
    """

    id: str
    message_id: str
    state: str
    durable: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """What ``mail.send_many`` returns.

    :param id: of the batch.
    :param count: how many messages it took, those among them whose key was used before.
    """

    id: str
    count: int
    _find: Callable[[str], Iterator[str]] = field(repr=False, compare=False)

    def ids(self) -> Iterator[str]:
        """The ids of its stored messages, in their order; read as they are asked for.

        Not among them are messages whose key was used before, nor what the immediate engine sent: it stores none.
        """
        return self._find(self.id)


class Engine(ABC):
    """When and where the sending runs."""

    #: How many letters of a batch it is given at once.
    group: int = 1

    #: Whether it stores letters in the outbox, with the transaction of a session if need be.
    stores: bool = False

    #: Whether what it is given may be written down: in the outbox, or by a broker.
    writes: bool = False

    @abstractmethod
    def submit(self, batch: Sequence[tuple[Letter, Terms]]) -> list[Receipt]:
        """Take responsibility for the letters, in the caller's thread."""

    @abstractmethod
    def begin(self, batch: Sequence[tuple[Letter, Terms]]) -> Future[list[Receipt]]:
        """As :meth:`submit`, for a caller who must not wait: what waits for anything is done by another thread.

        Its context variables, as they are now, are there as well. What is wrong with the letters is raised at once.
        """

    def join(self, batch: Sequence[tuple[Letter, Terms]], joining: Joining) -> list[Receipt]:
        """As :meth:`submit`, as a part of the transaction of a session.

        :raises ConfigurationError: what this engine does cannot be undone.
        """
        raise ConfigurationError("session=… needs an engine that stores: MAIL_ENGINE='outbox'.")

    def atomic(self, batch: str) -> AbstractContextManager[None]:
        """Within it, the letters of a batch are submitted; at its end all of them are sent, or none if it fails.

        :raises ConfigurationError: this engine has nowhere to keep them until then.
        """
        raise ConfigurationError("atomic=True needs an engine that stores: MAIL_ENGINE='outbox'.")
