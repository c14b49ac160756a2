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
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask

from ._application import context_of
from ._policy import limits_of, retry_policy
from ._roads import SCHEMES, PassingRoad, Roads, passing_road, signposts
from ._settings import DEFAULT, Settings, unknown_keys
from .delivery.backlog import Backlog
from .delivery.courier import Courier, Watcher
from .delivery.process import WATCH, BacklogFactory, Process
from .delivery.settings import BacklogSettings
from .delivery.telling import Told, tell
from .engines.background import SPILL, BackgroundEngine
from .engines.base import Engine, Receipt
from .engines.immediate import ImmediateEngine
from .errors import ConfigurationError, MessageError
from .mail.headers import verbatim
from .mail.letter import TRANSPORT, Letter, Terms
from .mail.message import Message
from .mail.seal import SealDefaults, seal
from .rules.retention import Retention
from .rules.staging import Staging
from .signals import message_queued, message_rolled_back
from .telemetry.announce import announcer
from .telemetry.logs import delivery_logger
from .transports.dsn import is_url

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .delivery.settings import WorkerSettings
    from .delivery.worker import Worker
    from .ledger.joining import Joining
    from .ledger.reports import Reports
    from .ledger.store import Store

logger = logging.getLogger("flask_outbox")

Context = Callable[[], AbstractContextManager[object]]


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


def retention(settings: Settings) -> Retention:
    """How long is kept what is over."""
    messages = {**Retention().messages, **dict(settings.retention)}
    return Retention(messages, dict(settings.retention_body), settings.retention_key)


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
    _roads: _Roads
    store: Store | None = None
    reports: Reports | None = None
    _make_worker: Callable[[Courier, bool], Worker] | None = None

    def seal(self, message: Message, id: str, now: float, transport: object = "") -> Letter:
        """Check a message and make it a letter, with what the settings say where it says nothing.

        :param transport: what it asks to go over, and where that has a name, may say something, too.
        """
        defaults, named = self.defaults, self._roads.configured.named
        if named and isinstance(transport, str) and (own := named.get(transport or DEFAULT)):
            said = seal_defaults(own)
            defaults = replace(defaults, envelope_from=said.envelope_from, reply_to=said.reply_to)
        return seal(message, id=id, now=now, defaults=defaults)

    def transport(self, asked: str, engine: str) -> tuple[str, str]:
        """The name of the transport that a message asks for, and its whole URL where it brought one along.

        :raises MessageError: there is none such.
        :raises ConfigurationError: this engine cannot have it.
        """
        if asked in self.transports:
            return asked, ""
        if not (isinstance(asked, str) and is_url(asked)):
            known = ", ".join(map(repr, self.transports))
            raise MessageError(
                f"'transport' must be {known}, or begin with one of: {', '.join(SCHEMES)}.",
                field="transport",
            )
        road = self._roads.passing(asked)
        stored = engine == "outbox" or (
            engine == "background" and self.settings.background_overflow == SPILL
        )
        if stored and road.secret:
            raise ConfigurationError(
                f"transport={road.name!r}: a URL with a password is not stored in the outbox: send with"
                " engine='immediate', or give the server a name in MAIL_TRANSPORTS and send by that."
            )
        if stored and len(road.name) > TRANSPORT:
            raise MessageError(
                f"'transport' must be at most {TRANSPORT} characters long, to be stored in the outbox.",
                field="transport",
            )
        return road.name, asked

    @property
    def retention(self) -> Retention:
        """How long is kept what is over."""
        return retention(self.settings)

    @property
    def transports(self) -> tuple[str, ...]:
        """The names of the configured ones, the default's first."""
        return self._roads.configured.names

    @property
    def staged(self) -> bool:
        """Whether letters may have to go to others than they are for; the engines see to that."""
        return bool(self.settings.redirect_to or self.settings.allowed_recipients)

    def make_worker(self) -> tuple[Courier, Worker]:
        """A worker for a process of its own (``flask mail worker``); call it inside the loop.

        :raises ConfigurationError: the configured engine has no outbox to work on.
        """
        if self._make_worker is None:
            raise ConfigurationError(f"With MAIL_ENGINE={self.engine!r} there is no outbox.")
        courier = self._roads.courier()
        return courier, self._make_worker(courier, True)

    def close(self) -> None:
        """End what this application runs in this process."""
        self.process.close()
        if self.store is not None:
            self.store.dispose()


class _Roads:
    """What the letters of one application travel by.

    :param context: entered around what is the application's own: an application context.
    :raises ConfigurationError: a configured transport cannot be.
    """

    def __init__(self, settings: Settings, context: Context) -> None:
        self.configured = Roads(settings, lambda own: called_in(context, own))
        #: What a URL names; those that were asked for last are known.
        self.passing: Callable[[str], PassingRoad] = lru_cache(64)(
            lambda url: passing_road(url, settings)
        )

    def courier(self) -> Courier:
        """One for the event loop that it will be used in."""
        return Courier(self.configured.make, lambda url: self.passing(url).make())


def called_in(context: Context, settings: Settings) -> Settings:
    """The settings, the function among them called in that context."""
    give = settings.oauth_token
    if give is None:
        return settings

    def token() -> str:
        with context():
            return give()

    return replace(settings, oauth_token=token)


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
    roads = _Roads(settings, context_of(app))
    for post in signposts(settings):
        if half := post.half_a_login:
            logger.warning(half)
    if settings.engine == "outbox" or settings.background_overflow == SPILL:
        return _wire_outbox(app, settings, roads, watchers)
    process = Process(
        roads.courier,
        None,
        settings.drain_timeout,
        make_backlog=_backlog_factory(app, settings, watchers),
    )
    engines = {
        "immediate": ImmediateEngine(process, watchers),
        "background": BackgroundEngine(process, settings.background_overflow),
    }
    return Wiring(
        settings,
        seal_defaults(settings),
        settings.engine,
        _staged(settings, engines),
        process,
        roads,
    )


def _debugging(settings: Settings, app_ref: Callable[[], Flask | None]) -> Callable[[], bool]:
    def debugging() -> bool:
        if settings.debug is not None:
            return settings.debug
        # Asked at each line, because app.run(debug=True) comes after init_app.
        app = app_ref()
        return app is not None and app.debug

    return debugging


def _wire_outbox(app: Flask, settings: Settings, roads: _Roads, watchers: list[Watcher]) -> Wiring:
    from .delivery.wakeup import Bell
    from .engines.outbox import OutboxEngine
    from .ledger.reports import Reports
    from .ledger.store import Store

    limits = limits_of(settings)
    store = Store(
        outbox_url(settings, app),
        env=settings.outbox_env,
        limits=limits,
        keys=settings.outbox_key,
    )
    reports = Reports(store)
    make_worker = _worker_factory(app, settings, store, watchers)
    process = Process(
        roads.courier,
        (lambda courier: make_worker(courier, False)) if settings.worker == "thread" else None,
        settings.drain_timeout,
        reports.left,
        _backlog_factory(app, settings, watchers, lambda batch: outbox.submit(batch)),
    )
    app_ref = weakref.ref(app)
    outbox = OutboxEngine(
        store,
        process,
        Bell.of(store.path),
        find=reports.get,
        announce=lambda letter: message_queued.send(app_ref(), letter=letter),
        announce_loss=lambda letter: message_rolled_back.send(app_ref(), letter=letter),
    )
    engines = {
        "outbox": outbox,
        "immediate": ImmediateEngine(process, watchers),
        "background": BackgroundEngine(process, settings.background_overflow, outbox),
    }
    return Wiring(
        settings,
        seal_defaults(settings),
        settings.engine,
        _staged(settings, engines),
        process,
        roads,
        store,
        reports,
        make_worker,
    )


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
) -> Callable[[Courier, bool], Worker]:
    from .delivery.news import News
    from .delivery.wakeup import Bell
    from .delivery.worker import Worker
    from .ledger.file import DrainerLock
    from .ledger.notifications import Notifications

    of_worker = worker_settings(settings)
    policy = retry_policy(settings)

    def make_worker(courier: Courier, external: bool) -> Worker:
        return Worker(
            store,
            courier,
            of_worker[external],
            policy=policy,
            lock=DrainerLock(store.path, external=external) if store.path else None,
            bell=Bell.of(store.path) or News(Notifications(store.database, store.env)),
            watchers=watchers,
            # Keeps the application: a script's may be gone, but for this, when its mail is drained at exit.
            context=context_of(app),
        )

    return make_worker


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
        self.group = engine.group

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
