"""From ``MAIL_*`` keys to settings to wired objects. The only file that knows every room.

Each room checks its own settings when their dataclass is made; here stands only which key feeds which field. None
and "" mean unset; numbers and booleans may be text, as environment variables are. Loaded by ``init_app``, together
with what the configured engine needs, so that nothing is imported later in a thread.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from flask import Flask

from .delivery.courier import Courier, TransportFactory, Watcher
from .delivery.process import Process
from .engines.base import Engine
from .engines.immediate import ImmediateEngine
from .errors import ConfigurationError, MessageError
from .mail.address import Address, parse_address
from .mail.letter import Letter
from .mail.message import Message
from .mail.seal import SealDefaults, seal
from .rules.retry import RetryPolicy
from .signals import message_queued
from .telemetry.announce import announcer
from .telemetry.logs import delivery_logger
from .transports.base import Transport
from .transports.smtp import SmtpTransport
from .transports.smtp_settings import SmtpSettings, is_loopback

if TYPE_CHECKING:
    from .delivery.settings import WorkerSettings
    from .delivery.worker import Worker
    from .ledger.reports import Reports
    from .ledger.store import Store

T = TypeVar("T")
Config = Mapping[str, Any]

ENGINES = ("outbox", "immediate")
WORKERS = ("thread", "external")

logger = logging.getLogger("flask_outbox")


# -- reading ---------------------------------------------------------------------------------------------------


def read(config: Config, key: str, kind: Callable[[Any], T], default: T) -> T:
    """One key, converted; unset gives the default.

    :raises ConfigurationError: names the key and what it must be, never its value.
    """
    value = config.get(key)
    if value is None or value == "":
        return default
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"'{key}' must be {_EXPECTED.get(kind, 'valid')}.") from error


def boolean(value: object) -> bool:
    """True and False, also as people write them in the environment."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in {"1", "true", "yes", "on"}:
            return True
        if word in {"0", "false", "no", "off"}:
            return False
        raise ValueError
    return bool(value)


def seconds(value: object) -> tuple[float, ...]:
    """A list of seconds: a sequence of numbers, or text with commas between them."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not items:
        raise ValueError
    return tuple(float(item) for item in items)


def words(value: object) -> tuple[str, ...]:
    """A list of names in capitals: a sequence, or text with commas or spaces between them."""
    items = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise ValueError
    return tuple(item.upper() for item in items)


_EXPECTED: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    str: "text",
    boolean: "true or false",
    seconds: "a list of seconds",
    words: "a list of names",
}


def one_of(config: Config, key: str, allowed: tuple[str, ...], default: str) -> str:
    value = read(config, key, str, default)
    if value not in allowed:
        raise ConfigurationError(f"'{key}' must be one of: {', '.join(allowed)}.")
    return value


def read_smtp(config: Config) -> SmtpSettings | None:
    """The default transport's settings from ``MAIL_URL`` or Flask-Mail's keys; None where there is no server."""
    fields = _from_url(config) if config.get("MAIL_URL") else _from_keys(config)
    if not fields.get("host"):
        return None
    common = {
        "timeout": read(config, "MAIL_TIMEOUT", float, 0.0) or None,
        "local_hostname": read(config, "MAIL_LOCAL_HOSTNAME", str, "") or None,
        "tls_verify": read(config, "MAIL_TLS_VERIFY", boolean, True),
        "tls_ca": read(config, "MAIL_TLS_CA", str, "") or None,
        "tls_cert": read(config, "MAIL_TLS_CERT", str, "") or None,
        "tls_key": read(config, "MAIL_TLS_KEY", str, "") or None,
        "max_messages": read(config, "MAIL_MAX_EMAILS", int, 0) or None,
        "pool_size": read(config, "MAIL_POOL_SIZE", int, 0) or None,
        "max_age": read(config, "MAIL_POOL_MAX_AGE", float, 0.0) or None,
        "idle_timeout": read(config, "MAIL_POOL_IDLE_TIMEOUT", float, 0.0) or None,
        "auth_mechanisms": read(config, "MAIL_AUTH_MECHANISMS", words, tuple[str, ...]()) or None,
    }
    given = {name: value for name, value in common.items() if value is not None} | fields
    return SmtpSettings(**{name: value for name, value in given.items() if value is not None})


def _from_keys(config: Config) -> dict[str, Any]:
    host = config.get("MAIL_SERVER", "localhost")
    use_tls = read(config, "MAIL_USE_TLS", boolean, None)
    use_ssl = read(config, "MAIL_USE_SSL", boolean, False)
    if use_tls and use_ssl:
        raise ConfigurationError(
            "'MAIL_USE_TLS' and 'MAIL_USE_SSL' contradict each other: port 587 wants MAIL_USE_TLS (STARTTLS),"
            " port 465 wants MAIL_USE_SSL."
        )
    port = read(config, "MAIL_PORT", int, 465 if use_ssl else 25)
    username = read(config, "MAIL_USERNAME", str, "") or None
    password = read(config, "MAIL_PASSWORD", str, "") or None
    tls = {True: "required", False: "never", None: None}[use_tls]
    if use_ssl:
        tls = "implicit"
    return {
        "host": str(host) if host else None,
        "port": port,
        "username": username,
        "password": password,
        "tls": tls or _default_tls(str(host or ""), port, username),
    }


def _from_url(config: Config) -> dict[str, Any]:
    url = read(config, "MAIL_URL", str, "")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(
            "'MAIL_URL' must be like smtp://user:password@host:587."
        ) from error
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise ConfigurationError(
            "'MAIL_URL' must be like smtp://user:password@host:587 or smtps://host:465;"
            " letters of user and password that have a meaning in a URL are written as %XX."
        )
    options = dict(parse_qsl(parts.query))
    implicit = parts.scheme == "smtps"
    port = port or (465 if implicit else 587)
    username = unquote(parts.username) if parts.username else None
    fields = {
        "host": parts.hostname,
        "port": port,
        "username": username,
        "password": unquote(parts.password) if parts.password else None,
        "tls": "implicit" if implicit else _default_tls(parts.hostname, port, username),
    }
    if "tls" in options:
        fields["tls"] = {"starttls": "required"}.get(options["tls"], options["tls"])
    if "pool" in options:
        fields["pool_size"] = read({"MAIL_URL?pool": options["pool"]}, "MAIL_URL?pool", int, 0)
    unknown = sorted(set(options) - {"tls", "pool"})
    if unknown:
        raise ConfigurationError(
            f"'MAIL_URL' has an unknown option: {unknown[0]}. Known are: tls, pool."
        )
    return fields


def _default_tls(host: str, port: int, username: str | None) -> str:
    """What is done about TLS where nothing was said: never less than the secrets need."""
    if port == 465:
        return "implicit"
    if is_loopback(host):
        return "never"
    return "required" if username or port == 587 else "opportunistic"


def read_seal_defaults(config: Config) -> SealDefaults:
    """What a message takes over when it is sealed."""
    reply_to = _address(config, "MAIL_REPLY_TO")
    envelope_from = _address(config, "MAIL_ENVELOPE_FROM", null="<>")
    return SealDefaults(
        sender=_address(config, "MAIL_DEFAULT_SENDER"),
        envelope_from=envelope_from.addr if envelope_from else None,
        reply_to=(reply_to,) if reply_to else (),
        max_size=read(config, "MAIL_MAX_SIZE", int, 25_000_000),
        ascii_attachments=read(config, "MAIL_ASCII_ATTACHMENTS", boolean, False),
    )


def _address(config: Config, key: str, null: str = "") -> Address | None:
    """:param null: how the null path is written, where it is allowed."""
    value = config.get(key)
    if not value:
        return None
    if value == null:
        return Address("")
    try:
        return parse_address(value, key)
    except MessageError as error:
        raise ConfigurationError(f"'{key}' must be one address. {error}") from error


def read_outbox_url(app: Flask) -> str:
    """``MAIL_OUTBOX_URL``; by default a SQLite file in the instance folder, which relative files are relative to."""
    url = read(app.config, "MAIL_OUTBOX_URL", str, "sqlite:///outbox.sqlite")
    scheme, _, path = url.partition(":///")
    if not scheme.startswith("sqlite") or Path(path).is_absolute():
        return url
    return f"{scheme}:///{Path(app.instance_path) / path}"


# -- wiring ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wiring:
    """The objects of one application, as its settings want them."""

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


def wire(app: Flask) -> Wiring:
    """Read the settings and build everything they name; starts nothing and opens nothing."""
    config = app.config
    engine = one_of(config, "MAIL_ENGINE", ENGINES, "outbox")
    worker = one_of(config, "MAIL_WORKER", WORKERS, "thread")
    smtp = read_smtp(config)
    app_ref = weakref.ref(app)
    watchers: list[Watcher] = [delivery_logger(debug=app.debug), announcer(app_ref)]

    def make_transports() -> Mapping[str, Transport]:
        return {} if smtp is None else {"default": SmtpTransport(smtp)}

    if engine == "outbox":
        return _wire_outbox(app, worker, make_transports, watchers)
    process = Process(make_transports, None, 0.0)
    engines: dict[str, Engine] = {"immediate": ImmediateEngine(process, watchers)}
    return Wiring(read_seal_defaults(config), engine, engines, process, make_transports)


def _wire_outbox(
    app: Flask, worker: str, make_transports: TransportFactory, watchers: list[Watcher]
) -> Wiring:
    from .delivery.wakeup import Bell
    from .engines.outbox import OutboxEngine
    from .ledger.reports import Reports
    from .ledger.store import Store

    store = Store(read_outbox_url(app), env=read(app.config, "MAIL_OUTBOX_ENV", str, ""))
    reports = Reports(store)
    make_worker = _worker_factory(app, store, watchers)
    process = Process(
        make_transports,
        (lambda courier: make_worker(courier, False)) if worker == "thread" else None,
        _read_worker(app.config)[False].drain_timeout,
        lambda: _waiting(reports),
    )
    app_ref = weakref.ref(app)
    outbox = OutboxEngine(
        store,
        process,
        Bell.of(store.path),
        find=reports.get,
        announce=lambda letter: message_queued.send(app_ref(), letter=letter),
    )
    engines = {"outbox": outbox, "immediate": ImmediateEngine(process, watchers)}
    defaults = read_seal_defaults(app.config)
    return Wiring(
        defaults, "outbox", engines, process, make_transports, store, reports, make_worker
    )


def _worker_factory(
    app: Flask, store: Store, watchers: list[Watcher]
) -> Callable[[Courier, bool], Worker]:
    from .delivery.wakeup import Bell
    from .delivery.worker import Worker
    from .ledger.file import DrainerLock

    settings = _read_worker(app.config)
    delays = read(app.config, "MAIL_RETRY_DELAYS", seconds, RetryPolicy().delays)
    context = _context_factory(weakref.ref(app))

    def make_worker(courier: Courier, external: bool) -> Worker:
        return Worker(
            store,
            courier,
            settings[external],
            policy=RetryPolicy(delays=delays),
            lock=DrainerLock(store.path, external=external) if store.path else None,
            bell=Bell.of(store.path),
            watchers=watchers,
            context=context,
        )

    return make_worker


def _waiting(reports: Reports) -> int:
    counts = reports.status(time.time()).counts
    return sum(counts.get(word, 0) for word in ("queued", "retrying", "sending"))


def _read_worker(config: Config) -> dict[bool, WorkerSettings]:
    """Settings of the worker thread (False) and of ``flask mail worker`` (True), which has no cap unless one is set."""
    from .delivery.settings import WorkerSettings

    rate = read(config, "MAIL_WORKER_RATE", float, 0.0) or None
    drain = read(config, "MAIL_DRAIN_TIMEOUT", float, 10.0)
    return {
        False: WorkerSettings(rate=rate or 200.0, drain_timeout=drain),
        True: WorkerSettings(rate=rate, drain_timeout=drain),
    }


def _context_factory(
    app_ref: Callable[[], Flask | None],
) -> Callable[[], AbstractContextManager[object]]:
    def context() -> AbstractContextManager[object]:
        app = app_ref()
        if app is None:
            raise RuntimeError("The application of this worker is gone.")
        return app.app_context()

    return context
