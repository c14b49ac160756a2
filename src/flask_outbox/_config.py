"""From settings to wired objects. The only file that knows every room.

What the keys are and what they hold stands in :mod:`._settings`; each room checks its own settings when their
dataclass is made; here stands only which setting feeds which field. Loaded by ``init_app``, together with what the
configured engine needs, so that nothing is imported later in a thread.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from flask import Flask

from ._application import context_of
from ._kinds import PLAIN_ENGINES
from ._policy import limits_of, retry_policy
from ._roads import signposts
from ._settings import OUTBOX, Settings, unknown_keys
from ._wiring import AppRoads, Wiring, retention, seal_defaults
from .delivery.backlog import Backlog
from .delivery.courier import Courier, Watcher
from .delivery.process import WATCH, BacklogFactory, Process
from .delivery.settings import BacklogSettings
from .delivery.telling import Told, tell
from .engines.background import SPILL, BackgroundEngine
from .engines.base import Engine
from .engines.immediate import ImmediateEngine
from .engines.staged import staged
from .mail.letter import Letter, Terms
from .rules.staging import Staging
from .signals import message_queued, message_rolled_back
from .telemetry.announce import announcer
from .telemetry.logs import delivery_logger

if TYPE_CHECKING:
    from .delivery.asked import Asked
    from .delivery.settings import WorkerSettings
    from .delivery.worker import Worker
    from .ledger.store import Store

logger = logging.getLogger("flask_outbox")


class WorkerFactory(Protocol):
    """Makes a worker; for a process of its own, or to be told by tasks what it is to send."""

    def __call__(self, courier: Courier, external: bool, asked: Asked | None = None) -> Worker: ...


# -- settings of the rooms -------------------------------------------------------------------------------------


def outbox_url(settings: Settings, app: Flask) -> str:
    """The outbox's database; a relative SQLite file is in the instance folder."""
    url = settings.outbox_url or OUTBOX
    scheme, _, path = url.partition(":///")
    if not scheme.startswith("sqlite") or Path(path).is_absolute():
        return url
    return f"{scheme}:///{Path(app.instance_path) / path}"


def worker_settings(settings: Settings) -> dict[bool, WorkerSettings]:
    """Of the worker thread (False) and of ``flask mail worker`` (True), which has no cap unless one is set."""
    from .delivery.settings import WorkerSettings

    external = WorkerSettings(
        rate=settings.worker_rate,
        drain_timeout=settings.drain_timeout,
        max_bytes=settings.worker_max_bytes,
        retention=retention(settings),
    )
    return {False: replace(external, rate=external.rate or 200.0), True: external}


# -- wiring -------------------------------------------------------------------------------------------------


def wire(app: Flask, settings: Settings) -> Wiring:
    """Build everything the settings name; starts nothing and opens nothing.

    :raises ConfigurationError: a room cannot be as they say.
    """
    if unknown := unknown_keys(app.config):
        logger.warning("not settings of Flask-Outbox, and ignored: %s", ", ".join(unknown))
    app_ref = weakref.ref(app)
    watchers: list[Watcher] = [
        delivery_logger(debug=_debugging(settings, app_ref)),
        announcer(app_ref),
    ]
    roads = AppRoads(settings, context_of(app))
    for post in signposts(settings):
        if half := post.half_a_login:
            logger.warning(half)
    if settings.engine in ("immediate", "background") and settings.background_overflow != SPILL:
        return _wire_plain(app, settings, roads, watchers)
    if settings.engine in PLAIN_ENGINES:
        return _wire_outbox(app, settings, roads, watchers)
    if settings.outbox_url is not None:
        return _wire_tasks(app, settings, roads, watchers)
    return _wire_letter_tasks(app, settings, roads, watchers)


def _wiring(
    settings: Settings, engines: dict[str, Engine], process: Process, roads: AppRoads
) -> Wiring:
    staging = Staging(settings.redirect_to, settings.allowed_recipients)
    defaults = seal_defaults(settings)
    return Wiring(settings, defaults, settings.engine, staged(engines, staging), process, roads)


def _wire_plain(app: Flask, settings: Settings, roads: AppRoads, watchers: list[Watcher]) -> Wiring:
    process = Process(
        roads.courier,
        None,
        settings.drain_timeout,
        make_backlog=_backlog_factory(app, settings, watchers),
    )
    engines: dict[str, Engine] = {
        "immediate": ImmediateEngine(process, watchers),
        "background": BackgroundEngine(process, settings.background_overflow),
    }
    return _wiring(settings, engines, process, roads)


def _debugging(settings: Settings, app_ref: Callable[[], Flask | None]) -> Callable[[], bool]:
    def debugging() -> bool:
        if settings.debug is not None:
            return settings.debug
        # Asked at each line, because app.run(debug=True) comes after init_app.
        app = app_ref()
        return app is not None and app.debug

    return debugging


def _store(app: Flask, settings: Settings) -> Store:
    from .ledger.store import Store

    return Store(
        outbox_url(settings, app),
        env=settings.outbox_env,
        limits=limits_of(settings),
        keys=settings.outbox_key,
    )


def _wire_outbox(
    app: Flask, settings: Settings, roads: AppRoads, watchers: list[Watcher]
) -> Wiring:
    from .delivery.wakeup import Bell
    from .engines.outbox import OutboxEngine
    from .ledger.reports import Reports

    store = _store(app, settings)
    reports = Reports(store)
    make_worker = _worker_factory(app, settings, store, watchers)
    process = Process(
        roads.courier,
        (lambda courier: make_worker(courier, False)) if settings.worker == "thread" else None,
        settings.drain_timeout,
        reports.left,
        _backlog_factory(app, settings, watchers, lambda batch: outbox.submit(batch)),
    )
    outbox = OutboxEngine(
        store, process, Bell.of(store.path), find=reports.get, **_announcements(app)
    )
    engines: dict[str, Engine] = {
        "outbox": outbox,
        "immediate": ImmediateEngine(process, watchers),
        "background": BackgroundEngine(process, settings.background_overflow, outbox),
    }
    return replace(
        _wiring(settings, engines, process, roads),
        store=store,
        reports=reports,
        _make_worker=make_worker,
        go=outbox.go,
    )


def _announcements(app: Flask) -> dict[str, Callable[[Letter], object]]:
    app_ref = weakref.ref(app)
    return {
        "announce": lambda letter: message_queued.send(app_ref(), letter=letter),
        "announce_loss": lambda letter: message_rolled_back.send(app_ref(), letter=letter),
    }


def _wire_tasks(app: Flask, settings: Settings, roads: AppRoads, watchers: list[Watcher]) -> Wiring:
    """The outbox, whose letters the tasks of a queue send."""
    from ._task_queues import Tasks, task_queue_of
    from .delivery.asked import Asked
    from .delivery.relay import Relay
    from .engines.dispatch import Dispatcher
    from .engines.queued import TaskEngine
    from .ledger.reports import Reports

    store, queue = _store(app, settings), task_queue_of(app, settings)
    reports = Reports(store)
    make_worker = _worker_factory(app, settings, store, watchers)

    def make_task_worker() -> tuple[Asked, Callable[[Courier], Worker]]:
        asked = Asked()
        return asked, lambda courier: make_worker(courier, True, asked)

    process = Process(
        roads.courier,
        None,
        settings.drain_timeout,
        make_backlog=_backlog_factory(app, settings, watchers, lambda batch: outbox.submit(batch)),
        make_task_worker=make_task_worker,
    )
    dispatcher = Dispatcher(process, queue)
    outbox = TaskEngine(
        store,
        process,
        dispatcher,
        find=reports.get,
        of_batch=reports.of_batch,
        **_announcements(app),
    )
    engines: dict[str, Engine] = {
        settings.engine: outbox,
        "outbox": outbox,
        "immediate": ImmediateEngine(process, watchers),
        "background": BackgroundEngine(process, settings.background_overflow, outbox),
    }

    def make_relay() -> Relay:
        rules, patience = worker_settings(settings)[True], settings.relay_patience
        # Its own, because it is a worker of its own.
        return Relay(_store(app, settings), dispatcher.publish, rules, patience=patience)

    return replace(
        _wiring(settings, engines, process, roads),
        store=store,
        reports=reports,
        _make_worker=make_worker,
        tasks=Tasks(queue, settings.relay, process, make_relay),
        go=outbox.go,
    )


def _wire_letter_tasks(
    app: Flask, settings: Settings, roads: AppRoads, watchers: list[Watcher]
) -> Wiring:
    """A task queue whose tasks carry whole letters."""
    from ._task_queues import Tasks, task_queue_of
    from .engines.letter_tasks import LetterTaskEngine

    queue = task_queue_of(app, settings)
    process = Process(
        roads.courier,
        None,
        settings.drain_timeout,
        make_backlog=_backlog_factory(app, settings, watchers),
    )
    announce, policy = _announcements(app)["announce"], retry_policy(settings)
    letters = LetterTaskEngine(process, queue, policy, announce, watchers, context_of(app))
    engines: dict[str, Engine] = {
        settings.engine: letters,
        "immediate": ImmediateEngine(process, watchers),
        "background": BackgroundEngine(process, settings.background_overflow),
    }
    tasks = Tasks(queue, relays=False, _process=process, letters=letters)
    return replace(_wiring(settings, engines, process, roads), tasks=tasks)


def _backlog_factory(
    app: Flask,
    settings: Settings,
    watchers: Sequence[Watcher],
    store: Callable[[Sequence[tuple[Letter, Terms]]], object] | None = None,
) -> BacklogFactory:
    limits = BacklogSettings(settings.background_limit, settings.background_max_bytes)
    app_ref = weakref.ref(app)

    def make_backlog(process: Process, courier: Courier) -> Backlog:
        # Keeps the application from its first letter in memory on, so that the last one can be told of.
        app = app_ref()
        if app is None:
            raise RuntimeError("The application of this mail is gone.")
        context = context_of(app)

        def hear(told: Told) -> None:
            process.thread(WATCH).submit(tell, watchers, context, [told])

        spills = settings.background_overflow == SPILL
        return Backlog(process, courier, limits, tell=hear, store=store if spills else None)

    return make_backlog


def _worker_factory(
    app: Flask, settings: Settings, store: Store, watchers: list[Watcher]
) -> WorkerFactory:
    from .delivery.news import News
    from .delivery.wakeup import Bell
    from .delivery.worker import Worker
    from .ledger.file import DrainerLock
    from .ledger.notifications import Notifications

    of_worker = worker_settings(settings)
    policy = retry_policy(settings)

    def make_worker(courier: Courier, external: bool, asked: Asked | None = None) -> Worker:
        drains = store.path is not None and asked is None
        return Worker(
            store,
            courier,
            of_worker[external],
            policy=policy,
            lock=DrainerLock(store.path, external=external) if drains and store.path else None,
            bell=Bell.of(store.path) or News(Notifications(store.database, store.env)),
            watchers=watchers,
            # Keeps the application: a script's may be gone, but for this, when its mail is drained at exit.
            context=context_of(app),
            asked=asked,
            alone=settings.engine in PLAIN_ENGINES,
        )

    return make_worker
