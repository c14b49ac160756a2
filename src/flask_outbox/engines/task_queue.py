"""The contract of a task queue: what carries the news that letters are due to processes that send them.

One file for each kind of queue implements it. Others are found by the entry point group ``flask_outbox.task_queues``,
by the name that ``MAIL_ENGINE`` has: it names a subclass of :class:`TaskQueue`.
"""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .letter_tasks import Carried

#: The priorities of letters, by the words that ``MAIL_TASK_OPTIONS`` has for them.
PRIORITIES = ("high", "normal", "low")


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How tasks are put on a queue.

    :param every: the queue's own options (``MAIL_TASK_OPTIONS``), for any task.
    :param by_priority: the same for those of letters of one priority, which go before.
    """

    every: Mapping[str, Any] = field(default_factory=dict)
    by_priority: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> TaskOptions:
        """From the setting: options, and under the name of a priority those of its tasks.

        :raises ConfigurationError: under such a name is something else.
        """
        by_priority: dict[int, Mapping[str, Any]] = {}
        for number, word in enumerate(PRIORITIES):
            own = given.get(word, {})
            if not isinstance(own, Mapping):
                raise ConfigurationError(
                    f"'MAIL_TASK_OPTIONS' must have a dict of options under {word!r}."
                )
            by_priority[number] = own
        every = {name: value for name, value in given.items() if name not in PRIORITIES}
        return cls(every, by_priority)

    def of_priority(self, priority: int) -> dict[str, Any]:
        """Those of a task."""
        return {**self.every, **self.by_priority.get(priority, {})}

    def check(self, known: Iterable[str]) -> None:
        """Refuse what the queue would not know, before it is too late to say so.

        :raises ConfigurationError: there is some.
        """
        known = {*known}
        for options in (self.every, *self.by_priority.values()):
            for name in options.keys() - known:
                raise ConfigurationError(
                    f"'MAIL_TASK_OPTIONS' has {name!r}, which is none of: {', '.join(sorted(known))}."
                )


class Host(Protocol):
    """What the tasks of an application's mail are done by. Equal to any other of the same application."""

    @property
    def is_current(self) -> bool:
        """Whether it is that of the current application."""
        ...

    def context(self) -> AbstractContextManager[object]:
        """Within it, the application is the current one: for a queue that asks for that, or runs a task at once."""
        ...

    def deliver(self, ids: Sequence[str]) -> Mapping[str, str]:
        """As :func:`flask_outbox.tasks.deliver`."""
        ...

    def carry(self, document: str) -> Carried:
        """As :func:`flask_outbox.tasks.deliver_letter`."""
        ...

    def relay(self) -> None:
        """As :func:`flask_outbox.tasks.relay`."""
        ...

    def start_relay(self) -> None:
        """As :func:`flask_outbox.tasks.start_relay`."""
        ...

    def close(self) -> None:
        """As :func:`flask_outbox.tasks.close`."""
        ...


class TaskQueue(ABC):
    """A task queue of one application.

    Making one connects to nothing: it is made by ``init_app``, where what it needs may not be there yet.

    :param host: what its tasks are done by.
    :param find: gives what ``MAIL_TASK_QUEUE`` names, or ``app.extensions[…]`` under the name of the engine.
    :param options: how tasks are put on it.
    """

    #: What ``MAIL_ENGINE`` calls it, for people.
    name: ClassVar[str] = ""

    #: Seconds between two tasks, in which letters are gathered: a task costs a queue more than a mail costs the server.
    #: The first is not kept waiting.
    gather: ClassVar[float] = 0.05

    def __init__(self, host: Host, find: Callable[[], Any], options: TaskOptions) -> None:
        self.host = host
        self.find = find
        self.options = options

    @abstractmethod
    def publish(self, ids: Sequence[str], priority: int) -> None:
        """Put a task on the queue that calls :func:`flask_outbox.tasks.deliver` with those ids, and return.

        The thread that tells of what is stored calls it, and that of a relay may at the same time; none that serves
        requests does.

        :param priority: 0 high, 1 normal, 2 low.
        :raises Exception: the broker did not take it; whatever its client raises. It is tried again.
        """

    def publish_letter(self, document: str, priority: int, delay: float) -> None:
        """Put a task on the queue that calls :func:`flask_outbox.tasks.deliver_letter` with that text, and return.

        Only where there is no outbox (``MAIL_OUTBOX_URL = None``). Called by the thread that sends.

        :param delay: seconds after which the task is to run.
        :raises Exception: the broker did not take it.
        """
        raise ConfigurationError(
            f"MAIL_ENGINE={self.name!r} needs the outbox: leave MAIL_OUTBOX_URL=None out."
        )

    def ends_soon(self) -> bool:
        """Whether this process may end as soon as whoever sends is done, without running what :mod:`atexit` has.

        Whoever sends then waits until the broker has its task, up to 200 ms; otherwise nobody does.
        """
        return False

    def check(self) -> str:
        """Ask the broker for a sign of life, for ``flask mail doctor``.

        :returns: what answered, for a person.
        :raises Exception: it does not answer.
        """
        return f"{self.name} is not asked."


Q = TypeVar("Q", bound=TaskQueue)


def using(queues: Iterable[Q], uses: Callable[[Q], bool]) -> list[Q]:
    """Those of the queues of this process that have to do with a task, or with a worker.

    :param uses: whether one has. Where it raises, as the application is gone or cannot send, it has not.
    """
    found: list[Q] = []
    for queue in list(queues):
        try:
            if uses(queue):
                found.append(queue)
        except (ConfigurationError, RuntimeError):
            continue
    return found


def host_of(queues: Iterable[Q], uses: Callable[[Q], bool]) -> Host:
    """By whom a task is done that says nothing of its application: that of the current one, or else the only one.

    :param queues: those that there are in this process.
    :param uses: as :func:`using` has it.
    :raises ConfigurationError: there is none, or more than one.
    """
    found = _hosts(queues, uses)
    if len(found) > 1:
        # One may be of an application that nobody has any more, such as that of the test before.
        gc.collect()
        found = _hosts(queues, uses)
    if len(found) == 1:
        return found[0]
    which = "more than one application uses" if found else "no application uses"
    raise ConfigurationError(
        f"{which} the queue of this task for its mail: let its workers push the application's context."
    )


def _hosts(queues: Iterable[Q], uses: Callable[[Q], bool]) -> list[Host]:
    found: list[Host] = []
    for queue in using(queues, uses):
        if queue.host.is_current:
            return [queue.host]
        if queue.host not in found:
            found.append(queue.host)
    return found
