"""What one application has, as its settings want it: its engines, its process, its outbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ._roads import SCHEMES, PassingRoad, Roads, passing_road
from ._settings import DEFAULT, Settings
from .delivery.courier import Courier
from .delivery.process import Process
from .engines.base import Engine
from .errors import ConfigurationError, MessageError
from .mail.letter import TRANSPORT, Letter
from .mail.message import Message
from .mail.seal import SealDefaults, seal
from .rules.retention import Retention
from .transports.dsn import is_url

if TYPE_CHECKING:
    from ._task_queues import Tasks
    from .delivery.worker import Worker
    from .ledger.reports import Reports
    from .ledger.store import Store

Context = Callable[[], AbstractContextManager[object]]


def seal_defaults(settings: Settings) -> SealDefaults:
    """What a message takes over when it is sealed."""
    return SealDefaults(
        sender=settings.default_sender,
        envelope_from=settings.envelope_from,
        reply_to=(settings.reply_to,) if settings.reply_to else (),
        max_size=settings.max_size,
        ascii_attachments=settings.ascii_attachments,
    )


def retention(settings: Settings) -> Retention:
    """How long is kept what is over."""
    messages = {**Retention().messages, **dict(settings.retention)}
    bodies, keys = dict(settings.retention_body), settings.retention_key
    return Retention(messages, bodies, keys, settings.retention_event)


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
    _roads: AppRoads
    store: Store | None = None
    reports: Reports | None = None
    _make_worker: Callable[[Courier, bool], Worker] | None = None
    tasks: Tasks | None = None
    #: Told of letters that are in the queue again.
    go: Callable[[Sequence[str]], object] | None = None

    def stores(self, engine: str) -> bool:
        """Whether that engine stores what is sent."""
        return engine in self.engines and self.engines[engine].stores

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
        stored = engine in self.engines and self.engines[engine].writes
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


class AppRoads:
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
