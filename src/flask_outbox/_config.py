"""From settings to wired objects. The only file that knows every room.

What the keys are and what they hold stands in :mod:`._settings`; each room checks its own settings when their
dataclass is made; here stands only which setting feeds which field. Loaded by ``init_app``, together with what the
configured engine needs, so that nothing is imported later in a thread.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask

from ._roads import default_road
from ._settings import Settings, unknown_keys
from .delivery.courier import Courier, TransportFactory, Watcher
from .delivery.process import Process
from .engines.base import Engine, Receipt
from .engines.immediate import ImmediateEngine
from .errors import ConfigurationError
from .mail.headers import verbatim
from .mail.letter import Letter, Terms
from .mail.message import Message
from .mail.seal import SealDefaults, seal
from .rules.retry import RetryPolicy
from .rules.staging import Staging
from .signals import message_queued
from .telemetry.announce import announcer
from .telemetry.logs import delivery_logger
from .transports.base import Transport

if TYPE_CHECKING:
    from .delivery.settings import WorkerSettings
    from .delivery.worker import Worker
    from .ledger.reports import Reports
    from .ledger.store import Store

logger = logging.getLogger("flask_outbox")


# -- settings of the rooms -------------------------------------------------------------------------------------


def seal_defaults(settings: Settings) -> SealDefaults:
    """What a message takes over when it is sealed."""
    return SealDefaults(
        sender=settings.default_sender,
        envelope_from=settings.envelope_from,
        reply_to=(settings.reply_to,) if settings.reply_to else (),
        max_size=settings.max_size,
        ascii_attachments=settings.ascii_attachments,
    )


def outbox_url(settings: Settings, app: Flask) -> str:
    """The outbox's database; a relative SQLite file is in the instance folder."""
    scheme, _, path = settings.outbox_url.partition(":///")
    if not scheme.startswith("sqlite") or Path(path).is_absolute():
        return settings.outbox_url
    return f"{scheme}:///{Path(app.instance_path) / path}"


def worker_settings(settings: Settings) -> dict[bool, WorkerSettings]:
    """Of the worker thread (False) and of ``flask mail worker`` (True), which has no cap unless one is set."""
    from .delivery.settings import WorkerSettings

    rate, drain = settings.worker_rate, settings.drain_timeout
    return {
        False: WorkerSettings(rate=200.0 if rate is None else rate, drain_timeout=drain),
        True: WorkerSettings(rate=rate, drain_timeout=drain),
    }


# -- wiring ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wiring:
    """The objects of one application, as its settings want them.

    :param settings: what it was wired from. A second one from equal settings would be the same.
    """

    settings: Settings
    defaults: SealDefaults
    engine: str
    engines: Mapping[str, Engine]
    process: Process
    _make_transports: TransportFactory
    store: Store | None = None
    reports: Reports | None = None
    _make_worker: Callable[[Courier, bool], Worker] | None = None

    def seal(self, message: Message, id: str, now: float) -> Letter:
        """Check a message and make it a letter, with what the settings say where it says nothing."""
        return seal(message, id=id, now=now, defaults=self.defaults)

    @property
    def staged(self) -> bool:
        """Whether letters may have to go to others than they are for; the engines see to that."""
        return bool(self.settings.redirect_to or self.settings.allowed_recipients)

    def make_worker(self) -> tuple[Courier, Worker]:
        """A worker for a process of its own (``flask mail worker``); call it inside the loop.

        :raises ConfigurationError: the configured engine has no outbox to work on.
        """
        if self._make_worker is None:
            raise ConfigurationError("With MAIL_ENGINE='immediate' there is no outbox.")
        courier = Courier(self._make_transports)
        return courier, self._make_worker(courier, True)

    def close(self) -> None:
        """End what this application runs in this process."""
        self.process.close()
        if self.store is not None:
            self.store.dispose()


def wire(app: Flask, settings: Settings) -> Wiring:
    """Build everything the settings name; starts nothing and opens nothing.

    :raises ConfigurationError: a room cannot be as they say.
    """
    if unknown := unknown_keys(app.config):
        logger.warning("not settings of Flask-Outbox, and ignored: %s", ", ".join(unknown))
    debug = app.debug if settings.debug is None else settings.debug
    watchers: list[Watcher] = [delivery_logger(debug=debug), announcer(weakref.ref(app))]
    road = default_road(settings)

    def make_transports() -> Mapping[str, Transport]:
        return {} if road is None else {"default": road()}

    if settings.engine == "outbox":
        return _wire_outbox(app, settings, make_transports, watchers)
    process = Process(make_transports, None, 0.0)
    engines = _staged(settings, {"immediate": ImmediateEngine(process, watchers)})
    return Wiring(settings, seal_defaults(settings), "immediate", engines, process, make_transports)


def _wire_outbox(
    app: Flask, settings: Settings, make_transports: TransportFactory, watchers: list[Watcher]
) -> Wiring:
    from .delivery.wakeup import Bell
    from .engines.outbox import OutboxEngine
    from .ledger.reports import Reports
    from .ledger.store import Store

    store = Store(outbox_url(settings, app), env=settings.outbox_env)
    reports = Reports(store)
    make_worker = _worker_factory(app, settings, store, watchers)
    process = Process(
        make_transports,
        (lambda courier: make_worker(courier, False)) if settings.worker == "thread" else None,
        settings.drain_timeout,
        reports.left,
    )
    app_ref = weakref.ref(app)
    outbox = OutboxEngine(
        store,
        process,
        Bell.of(store.path),
        find=reports.get,
        announce=lambda letter: message_queued.send(app_ref(), letter=letter),
    )
    return Wiring(
        settings,
        seal_defaults(settings),
        "outbox",
        _staged(settings, {"outbox": outbox, "immediate": ImmediateEngine(process, watchers)}),
        process,
        make_transports,
        store,
        reports,
        make_worker,
    )


def _worker_factory(
    app: Flask, settings: Settings, store: Store, watchers: list[Watcher]
) -> Callable[[Courier, bool], Worker]:
    from .delivery.wakeup import Bell
    from .delivery.worker import Worker
    from .ledger.file import DrainerLock

    of_worker = worker_settings(settings)
    policy = RetryPolicy(delays=settings.retry_delays)
    context = _context_factory(weakref.ref(app))

    def make_worker(courier: Courier, external: bool) -> Worker:
        return Worker(
            store,
            courier,
            of_worker[external],
            policy=policy,
            lock=DrainerLock(store.path, external=external) if store.path else None,
            bell=Bell.of(store.path),
            watchers=watchers,
            context=context,
        )

    return make_worker


def _context_factory(
    app_ref: Callable[[], Flask | None],
) -> Callable[[], AbstractContextManager[object]]:
    def context() -> AbstractContextManager[object]:
        app = app_ref()
        if app is None:
            raise RuntimeError("The application of this worker is gone.")
        return app.app_context()

    return context


# -- staging ---------------------------------------------------------------------------------------------------


def _staged(settings: Settings, engines: dict[str, Engine]) -> Mapping[str, Engine]:
    staging = Staging(settings.redirect_to, settings.allowed_recipients)
    if not staging:
        return engines
    return {name: _Staged(engine, staging) for name, engine in engines.items()}


class _Staged(Engine):
    """Stands before an engine, so that none is given a letter for someone whom it must not reach."""

    def __init__(self, engine: Engine, staging: Staging) -> None:
        self._engine = engine
        self._staging = staging

    def submit(self, batch: Sequence[tuple[Letter, Terms]]) -> list[Receipt]:
        """Redirect or hold the letters as the settings say, and hand them on."""
        return self._engine.submit([self._stage(letter, terms) for letter, terms in batch])

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

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
