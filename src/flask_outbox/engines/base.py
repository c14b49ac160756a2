"""The contract of an engine: when and where the sending runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..mail.letter import Letter, Terms


@dataclass(frozen=True, slots=True)
class Receipt:
    """What ``mail.send`` returns.

    :param id: the letter's id, for ``mail.get``.
    :param message_id: the Message-ID header, with angle brackets.
    :param state: the delivery's state when ``send`` returned: ``"queued"``, ``"sent"``, ``"held"``,
        ``"suppressed"``.
    :param durable: whether the letter would survive a crash at this moment.
    """

    id: str
    message_id: str
    state: str
    durable: bool


class Engine(ABC):
    """When and where the sending runs."""

    @abstractmethod
    def submit(self, batch: Sequence[tuple[Letter, Terms]]) -> list[Receipt]:
        """Take responsibility for the letters, in the caller's thread."""

    @abstractmethod
    def close(self) -> None:
        """Finish or hand over what is in hand; called once, when the process ends."""
