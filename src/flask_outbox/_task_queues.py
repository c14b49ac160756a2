"""From the settings to the task queue of an application, and to what its tasks and its workers do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from flask import Flask

from ._application import application_here, context_of
from ._kinds import ENTRY_POINTS, TASK_QUEUES
from ._settings import Settings
from .delivery.native import FOREVER
from .engines.task_queue import TaskOptions, TaskQueue
from .errors import ConfigurationError

if TYPE_CHECKING:
    from .delivery.process import Process
    from .delivery.relay import Relay
    from .engines.letter_tasks import Carried, LetterTaskEngine


@dataclass(frozen=True)
class Tasks:
    """What one application has besides, where a task queue sends its mail.

    :param make_relay: called in the loop that it is to run on; None where nothing is stored.
    :param letters: the engine where nothing is stored.
    """

    queue: TaskQueue
    relays: bool
    _process: Process
    make_relay: Callable[[], Relay] | None = None
    letters: LetterTaskEngine | None = None

    def deliver(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Send letters of the outbox that are due."""
        return self._process.deliver(ids)

    def carry(self, document: str) -> Carried:
        """Try a letter that a task carries.

        :raises ConfigurationError: here letters are stored.
        """
        if self.letters is None:
            raise ConfigurationError(
                "This task carries a whole letter, which MAIL_OUTBOX_URL=None makes: set it here as it is there."
            )
        return self.letters.carry(document)

    def relay(self) -> None:
        """Tell the queue once of what is due that no task may know of, if no relay does."""
        if self.make_relay is not None:
            make = self.make_relay

            async def once() -> None:
                await make().once()

            self._process.spawn(once()).result(FOREVER)

    def start_relay(self) -> None:
        """Run a relay in this process, unless the settings say no, or one runs."""
        if self.relays and self.make_relay is not None:
            self._process.accompany(self.make_relay)


@dataclass(frozen=True)
class AppHost:
    """What the tasks of one application are done by, whatever its settings become."""

    _app: ReferenceType[Flask]

    @property
    def is_current(self) -> bool:
        """Whether it is that of the current application."""
        return application_here() is self._app()

    def context(self) -> AbstractContextManager[object]:
        """Within it, the application is the current one."""
        app = self._app()
        if app is None:
            raise RuntimeError("The application of this mail is gone.")
        return nullcontext() if self.is_current else context_of(app)()

    def deliver(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Send letters of the outbox that are due."""
        return tasks_of(self._app()).deliver(ids)

    def carry(self, document: str) -> Carried:
        """Try a letter that a task carries."""
        return tasks_of(self._app()).carry(document)

    def relay(self) -> None:
        """Tell the queue once of what is due."""
        tasks_of(self._app()).relay()

    def start_relay(self) -> None:
        """Run a relay in this process, unless one runs or the settings say no."""
        tasks_of(self._app()).start_relay()

    def close(self) -> None:
        """End what runs for the mail in this process."""
        app = self._app()
        if app is not None:
            desk_of(app).close()


def desk_of(app: Flask | None) -> Any:
    """What stands behind the mail of an application; of the current one for None.

    :raises ConfigurationError: there is none.
    """
    app = app or application_here()
    if app is None:
        raise ConfigurationError("No application is current: name it, or push its context.")
    desk = app.extensions.get("flask_outbox")
    if desk is None:
        raise ConfigurationError(
            "The application has no mail: Mail(app) was not called for it in this process."
        )
    return desk


def tasks_of(app: Flask | None) -> Tasks:
    """What a task queue does for an application; for the current one for None.

    :raises ConfigurationError: none does.
    """
    wiring = desk_of(app).wiring
    tasks: Tasks | None = wiring.tasks
    if tasks is None:
        raise ConfigurationError(
            f"With MAIL_ENGINE={wiring.engine!r} no task queue sends the mail of this application."
        )
    return tasks


def task_queue_of(app: Flask, settings: Settings) -> TaskQueue:
    """The task queue that ``MAIL_ENGINE`` names.

    :raises ConfigurationError: what it needs is not installed, or it is no task queue, or none for whole letters.
    """
    kind = _kind(settings.engine)
    if settings.outbox_url is None and kind.publish_letter is TaskQueue.publish_letter:
        raise ConfigurationError(
            f"MAIL_ENGINE={settings.engine!r} needs the outbox: leave MAIL_OUTBOX_URL=None out."
        )
    options = TaskOptions.of(dict(settings.task_options))
    app_ref = ref(app)

    def find() -> Any:
        app = app_ref()
        if app is None:
            raise RuntimeError("The application of this mail is gone.")
        return _named(settings.task_queue) or app.extensions.get(settings.engine)

    return kind(AppHost(app_ref), find, options)


def _kind(engine: str) -> type[TaskQueue]:
    if engine in TASK_QUEUES:
        try:
            module = import_module(f".engines.{engine}", __package__)
        except ImportError as error:
            raise ConfigurationError(
                f"MAIL_ENGINE={engine!r} needs the extra {engine!r}: pip install 'flask-outbox[{engine}]' ({error})."
            ) from error
        kind: object = module.QUEUE
    else:
        from importlib.metadata import entry_points

        (entry,) = entry_points(group=ENTRY_POINTS, name=engine)
        kind = entry.load()
    if not (isinstance(kind, type) and issubclass(kind, TaskQueue)):
        raise ConfigurationError(
            f"MAIL_ENGINE={engine!r} is not a subclass of flask_outbox.tasks.TaskQueue: {kind!r}."
        )
    return kind


def _named(given: object) -> Any:
    """What ``MAIL_TASK_QUEUE`` names."""
    if not isinstance(given, str):
        return given
    module, _, name = given.partition(":")
    try:
        found: Any = import_module(module)
        for attribute in name.split("."):
            found = getattr(found, attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"'MAIL_TASK_QUEUE' must be an object, or its import path 'module:name': {error}."
        ) from error
    return found
