"""Every ``MAIL_*`` key: what it holds, what it is where nobody sets it, and what it is for.

:func:`read_settings` reads all of them at once into a :class:`Settings`, whose fields are the table that the docs'
settings page is made from. None and "" mean unset; numbers and booleans may be text, as environment variables are.
What is wrong is said with the key and the cure, never with the value, which may be a secret.
"""
# ruff: noqa: RUF009  -- the calls among the defaults make fields

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from ._kinds import (
    ADDRESS,
    ADDRESSES,
    BOOLEAN,
    CALLABLE,
    DATABASE,
    DELAYS_FOR,
    ENGINE,
    FILE,
    INTEGER,
    KEYS,
    LIMITS,
    NUMBER,
    OPTIONS,
    PATH,
    PATTERNS,
    PEM,
    PLAIN_ENGINES,
    SECONDS,
    SPAN,
    SPANS,
    TEXT,
    THING,
    TRANSPORTS,
    URL,
    WORDS,
    Kind,
    one_of,
)
from .errors import ConfigurationError
from .mail.address import Address
from .rules.retention import Retention
from .rules.retry import RetryPolicy

Config = Mapping[str, Any]

_ITSELF = object()

#: The outbox where nobody names one.
OUTBOX = "sqlite:///outbox.sqlite"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key.

    :param of: what its value must be.
    :param value: where it is not set.
    :param text: what it is for, in Markdown.
    :param shown: the default in words, where it does not show as it is.
    :param option: what it is called in the query of ``MAIL_URL``, or "".
    :param blank: what None and "" mean, where it is not the default.
    """

    group: str
    key: str
    of: Kind
    value: object
    text: str
    shown: str = ""
    option: str = ""
    blank: object = _ITSELF

    @property
    def kind(self) -> str:
        """What its value must be, in words."""
        return self.of.name

    @property
    def default(self) -> str:
        """What it is where nobody sets it, in words."""
        if isinstance(self.value, float):
            return f"{self.value:g}"
        return self.shown or ("none" if self.value is None else str(self.value))

    def read(self, config: Config) -> Any:
        """Its value there.

        :raises ConfigurationError: it is of another kind.
        """
        given = config.get(self.key, self)
        if _unset(given):
            return self.value if self.blank is _ITSELF else self.blank
        return self.value if given is self else self.of.read(given, self.key)


def _unset(value: object) -> bool:
    # Only text is compared: a queue of RQ's refuses to be, with anything but its like.
    return value is None or (isinstance(value, str) and not value)


def _setting(*row: Any, **more: Any) -> Any:
    """A field of :class:`Settings`, of a row of the table."""
    setting = Setting(*row, **more)
    return field(default=setting.value, metadata={"setting": setting})


_server = partial(_setting, "The mail server")
_more = partial(_setting, "More transports")
_pool = partial(_setting, "Connections")
_message = partial(_setting, "Messages")
_dkim = partial(_setting, "DKIM")
_sending = partial(_setting, "Sending")
_tasks = partial(_setting, "Task queues")
_limit = partial(_setting, "Limits")
_outbox = partial(_setting, "The outbox")
_staging = partial(_setting, "Where mail may go")


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """The ``MAIL_*`` keys of one application, read. Without a repr, which would show secrets."""

    # fmt: off
    url: str | None = _server("MAIL_URL", URL, None,
        "The whole server in one key, instead of the six below: `smtp://user:password@host:587` or `smtps://…:465`. Its"
        " query holds options: `tls` (`starttls`, `opportunistic`, `never`) and those named at other keys here."
        " `failover(smtp://… smtp://…)` and `roundrobin(…)` are [several](transports.md#several)."
        " Nothing is sent by `console://`, which prints, `file:///folder` (`?maildir=yes`), `null://` and `memory://`.")
    server: str | None = _server("MAIL_SERVER", TEXT, "localhost",
        "The server's name or address. Set to `None`, there is none: the app starts, and mail waits in the outbox.",
        blank=None)
    port: int | None = _server("MAIL_PORT", INTEGER, None,
        "The server's port.", shown="25, or 465 with `MAIL_USE_SSL`")
    use_tls: bool | None = _server("MAIL_USE_TLS", BOOLEAN, None,
        "STARTTLS, mostly on port 587. Unset, it is used where the server offers it, and demanded on port 587 and"
        " where there is a password; `False` forbids it.", shown="where it is offered")
    use_ssl: bool = _server("MAIL_USE_SSL", BOOLEAN, False,
        "TLS from the first byte, mostly on port 465.")
    username: str | None = _server("MAIL_USERNAME", TEXT, None, "The user name to log in with.")
    password: str | None = _server("MAIL_PASSWORD", TEXT, None,
        "The password to log in with. It is never sent to another machine without verified TLS.")
    tls_verify: bool = _server("MAIL_TLS_VERIFY", BOOLEAN, True,
        "Whether the server's certificate is verified. `False` trusts anyone, with the password, too.", option="verify")
    tls_ca: str | None = _server("MAIL_TLS_CA", FILE, None,
        "PEM file of the authorities to trust instead of the system's.", option="ca")
    tls_cert: str | None = _server("MAIL_TLS_CERT", FILE, None,
        "PEM file of a client certificate to show.", option="cert")
    tls_key: str | None = _server("MAIL_TLS_KEY", FILE, None,
        "PEM file of its key, where `MAIL_TLS_CERT` does not hold it.", option="key")
    oauth_token: Callable[[], str] | None = _server("MAIL_OAUTH_TOKEN", CALLABLE, None,
        "A function that gives the OAuth token to log in with, instead of a password; called for each connection.")
    auth_mechanisms: tuple[str, ...] | None = _server("MAIL_AUTH_MECHANISMS", WORDS, None,
        "The ways to log in that may be used, the preferred one first.", shown="all but EXTERNAL", option="auth")
    local_hostname: str | None = _server("MAIL_LOCAL_HOSTNAME", TEXT, None,
        "The name this machine gives itself in EHLO.", shown="this machine's name", option="local_hostname")
    source_address: str | None = _server("MAIL_SOURCE_ADDRESS", TEXT, None,
        "The address of this machine that connections come from.", shown="the system's choice", option="source_address")

    transports: tuple[tuple[str, Any], ...] = _more("MAIL_TRANSPORTS", TRANSPORTS, (),
        "More roads, by names that messages ask for: each a URL like `MAIL_URL`, or the settings of the server and of"
        " its connections, in small letters and without `MAIL_`: `{'marketing': {'url': 'smtp://…', 'pool_size': 2}}`."
        " See [Transports](transports.md).", shown="none")

    timeout: float | None = _pool("MAIL_TIMEOUT", NUMBER, None,
        "Seconds to wait for anything the server does, at most.",
        shown="10 for the connection, then what RFC 5321 says", option="timeout")
    pool_size: int = _pool("MAIL_POOL_SIZE", INTEGER, 4,
        "Connections to the server at once, in each process.", option="pool")
    max_emails: int = _pool("MAIL_MAX_EMAILS", INTEGER, 100,
        "Messages after which a connection is replaced.", option="max_emails")
    pool_max_age: float = _pool("MAIL_POOL_MAX_AGE", NUMBER, 600.0,
        "Seconds after which a connection is replaced.", option="max_age")
    pool_idle_timeout: float = _pool("MAIL_POOL_IDLE_TIMEOUT", NUMBER, 30.0,
        "Seconds after which a connection with nothing to do is closed.", option="idle_timeout")
    pipelining: bool = _pool("MAIL_PIPELINING", BOOLEAN, True,
        "Whether commands are sent without waiting for each reply where the server announces that it can.",
        option="pipelining")

    default_sender: Address | None = _message("MAIL_DEFAULT_SENDER", ADDRESS, None,
        "The sender of messages that name none.")
    reply_to: Address | None = _message("MAIL_REPLY_TO", ADDRESS, None,
        "Where answers go, for messages that do not say.")
    envelope_from: str | None = _message("MAIL_ENVELOPE_FROM", PATH, None,
        "Where bounces go.", shown="the sender")
    max_size: int = _message("MAIL_MAX_SIZE", INTEGER, 25_000_000,
        "Bytes that a message may have; larger ones are refused.")
    ascii_attachments: bool = _message("MAIL_ASCII_ATTACHMENTS", BOOLEAN, False,
        "Whether names of attachments are brought down to ASCII.")

    dkim_domain: str | None = _dkim("MAIL_DKIM_DOMAIN", TEXT, None,
        "The domain that signs, of the sender or above it.")
    dkim_selector: str | None = _dkim("MAIL_DKIM_SELECTOR", TEXT, None,
        "The key's name: its public half stands in the DNS at `selector._domainkey.domain`.")
    dkim_key: str | None = _dkim("MAIL_DKIM_KEY", PEM, None,
        "The private key, RSA or Ed25519. Needs the extra `crypto`.")

    engine: str = _sending("MAIL_ENGINE", ENGINE, "outbox",
        "`outbox` stores a message and returns; `immediate` sends it while the caller waits, and raises; `background`"
        " keeps it in memory and returns; `celery`, `rq`, `dramatiq` and `huey` store it, and the tasks of [that"
        " queue](task-queues.md) send it.")
    worker: str = _sending("MAIL_WORKER", one_of("thread", "external"), "thread",
        "Who sends what the outbox holds: a thread of the app, or only `flask mail worker`.")
    worker_rate: float | None = _sending("MAIL_WORKER_RATE", NUMBER, None,
        "Messages a second that a worker starts, at most.", shown="200 for the thread, none for `flask mail worker`")
    worker_max_bytes: int = _sending("MAIL_WORKER_MAX_BYTES", INTEGER, 64_000_000,
        "Bytes of messages that a worker has in memory at once, at most; a single one may be larger. See"
        " [Memory](limits.md#memory).")
    retry_delays: tuple[float, ...] = _sending("MAIL_RETRY_DELAYS", SECONDS, RetryPolicy().delays,
        "Seconds before each further try after a temporary failure, ±20 %; the last one repeats.",
        shown=", ".join(f"{delay:g}" for delay in RetryPolicy().delays))
    retry_delays_for: tuple[tuple[str, tuple[float, ...]], ...] = _sending("MAIL_RETRY_DELAYS_FOR", DELAYS_FOR, (),
        "Other delays for some temporary failures: `recipient`, `message`, `transport`, `unknown`, a reply code or an"
        " enhanced one: `{'transport': [10, 60], '4.2.2': [3600]}`. See [Retries](limits.md#retries).", shown="none")
    background_limit: int = _sending("MAIL_BACKGROUND_LIMIT", INTEGER, 1_000,
        "Messages that `background` keeps in memory at most, in each process.")
    background_max_bytes: int = _sending("MAIL_BACKGROUND_MAX_BYTES", INTEGER, 64_000_000,
        "Bytes that they have together, at most.")
    background_overflow: str = _sending("MAIL_BACKGROUND_OVERFLOW", one_of("block", "raise", "spill"), "block",
        "What `background` does with one more: `block` waits for room, up to 10 seconds, `raise` raises"
        " `BacklogFullError` at once, and `spill` stores it in the outbox, with what is left in memory at exit.")
    drain_timeout: float = _sending("MAIL_DRAIN_TIMEOUT", NUMBER, 10.0,
        "Seconds that a process which ends may go on: a script sends what is due, a web process finishes what is on"
        " its way.")
    suppress_send: bool | None = _sending("MAIL_SUPPRESS_SEND", BOOLEAN, None,
        "Whether nothing is really sent or stored. It is read at each send.", shown="Flask's `TESTING`")
    debug: bool | None = _sending("MAIL_DEBUG", BOOLEAN, None,
        "Whether a failure that will be tried again is logged as an error, too, with its cure. With `immediate`, what"
        " is said to the server is logged as well, without secrets (`flask_outbox.smtp`).",
        shown="Flask's `DEBUG`")

    task_queue: Any = _tasks("MAIL_TASK_QUEUE", THING, None,
        "The queue that carries the mail: a Celery app, a `rq.Queue`, a Dramatiq broker or a Huey, or its import path,"
        " `myapp.tasks:huey`.", shown='`app.extensions["celery"]`, or under the name of the engine')
    task_options: tuple[tuple[str, Any], ...] = _tasks("MAIL_TASK_OPTIONS", OPTIONS, (),
        "Options by which its tasks are put on it, as the queue names them; under `high`, `normal` and `low` those of"
        " messages of that priority: `{'queue': 'mail', 'high': {'queue': 'mail-first'}}`.", shown="none")
    relay: bool = _tasks("MAIL_RELAY", BOOLEAN, True,
        "Whether the workers of a queue also run the [relay](task-queues.md#relay), which tells it of what is due.")
    relay_patience: float = _tasks("MAIL_RELAY_PATIENCE", NUMBER, 60.0,
        "Seconds after which a message that nobody has sent is put on the queue again.")

    limits: tuple[tuple[str, Any], ...] = _limit("MAIL_LIMITS", LIMITS, (),
        "How many messages may go out over a transport, or to a domain of recipients, within each `second`, `minute`,"
        " `hour` and `day`, and how many may be under way at once (`connections`), by all workers together:"
        " `{'default': {'second': 10, 'day': 50000}, '@example.org': {'minute': 60}}`."
        " See [Limits](limits.md).", shown="none")
    breaker: int = _limit("MAIL_BREAKER", INTEGER, 5,
        "Tries in a row that fail by the fault of a transport, after which nothing is sent over it for a while, and no"
        " try is counted; 0 is never. See [A broken transport](limits.md#breaker).")
    breaker_pause: float = _limit("MAIL_BREAKER_PAUSE", NUMBER, 30.0,
        "Seconds after which one message tries it again.")

    outbox_url: str | None = _outbox("MAIL_OUTBOX_URL", DATABASE, OUTBOX,
        "The [database](databases.md) of the outbox, as SQLAlchemy names it: SQLite, PostgreSQL, MariaDB or MySQL. A"
        " relative SQLite file is in the instance folder. With `Mail(app, db=db)`, [it is your"
        " own](transactions.md) where that is on a server. `None`, with a task queue, is [no"
        " outbox](task-queues.md#without-an-outbox).", blank=None)
    outbox_env: str = _outbox("MAIL_OUTBOX_ENV", TEXT, "",
        "A name for this deployment, such as `production`. Workers send only what was stored under their own, so"
        " that a copy of the database sends nothing elsewhere.", shown="no name")
    outbox_key: tuple[bytes, ...] = _outbox("MAIL_OUTBOX_KEY", KEYS, (),
        "A key of 32 random bytes in base64 (`openssl rand -base64 32`) by which texts and attachments are"
        " [encrypted](retention.md#encryption) in the outbox; of several the first one encrypts, and each reads. Needs"
        " the extra `crypto`.", shown="not encrypted")
    retention: tuple[tuple[str, float], ...] = _outbox("MAIL_RETENTION", SPANS, (),
        "How long a [message that is over](retention.md) is kept, by how it ended: `{\"sent\": \"7d\"}`, or as text"
        " `sent=7d, dead=never`, or one time for all. What is not named is as it was.",
        shown="sent=30d, cancelled=30d, dead=90d")
    retention_body: tuple[tuple[str, float], ...] = _outbox("MAIL_RETENTION_BODY", SPANS, (),
        "The same for its text and attachments, which may go earlier than its record.", shown="as long as the message")
    retention_key: float = _outbox("MAIL_RETENTION_KEY", SPAN, Retention().keys,
        "How long a `key` of `mail.send` is remembered.", shown="90d")
    retention_event: float = _outbox("MAIL_RETENTION_EVENT", SPAN, Retention().events,
        "How long what was told of no message that is there (a bounce of another application's) is kept, and a"
        " suppression of an address after its end.", shown="90d")

    redirect_to: tuple[str, ...] = _staging("MAIL_REDIRECT_TO", ADDRESSES, (),
        "Everything goes to these addresses instead, with its headers as they were and the recipients it was for in"
        " `X-Original-To`.", shown="none")
    allowed_recipients: tuple[str, ...] = _staging("MAIL_ALLOWED_RECIPIENTS", PATTERNS, (),
        "Mail to anyone else is held until `flask mail retry` or `cancel`, or refused where nothing is stored; with"
        " `MAIL_REDIRECT_TO`, only mail to anyone else is redirected. `@example.org` is a whole domain, `*` stands for"
        " anything.",
        shown="everyone")
    # fmt: on


#: The fields of :class:`Settings` as rows, in the order of the docs.
_ROWS: dict[str, Setting] = {one.name: one.metadata["setting"] for one in fields(Settings)}

#: The table.
SETTINGS = tuple(_ROWS.values())

#: The transport that is there whether it is named or not.
DEFAULT = "default"

#: What ``MAIL_URL`` says in one.
_IN_URL = ("server", "port", "username", "password", "use_tls", "use_ssl")

#: What each transport says for itself, as no other one's secrets are to go there; the rest is as the settings say.
_ITS_OWN = {"url", "oauth_token", *_IN_URL}

#: What a transport of ``MAIL_TRANSPORTS`` may say, by the word it says it with.
_OF_A_TRANSPORT = {
    row.key.removeprefix("MAIL_").lower(): (name, row)
    for name, row in _ROWS.items()
    if row.group in ("The mail server", "Connections")
    or name in ("retry_delays", "envelope_from", "reply_to")
}


# -- reading ---------------------------------------------------------------------------------------------------


def read_settings(config: Config) -> Settings:
    """Read all keys.

    :raises ConfigurationError: one is wrong, or two contradict each other.
    """
    settings = Settings(**{name: row.read(config) for name, row in _ROWS.items()})
    if settings.outbox_url is None and settings.engine in PLAIN_ENGINES:
        # Only with a task queue that means something.
        settings = replace(settings, outbox_url=OUTBOX)
    if settings.use_tls and settings.use_ssl:
        raise ConfigurationError(
            "'MAIL_USE_TLS' and 'MAIL_USE_SSL' contradict each other: port 587 wants MAIL_USE_TLS (STARTTLS),"
            " port 465 wants MAIL_USE_SSL."
        )
    if settings.background_overflow == "spill" and settings.engine == "immediate":
        raise ConfigurationError(
            "'MAIL_BACKGROUND_OVERFLOW' and 'MAIL_ENGINE' contradict each other: spill needs an outbox, and immediate"
            " has none."
        )
    if settings.background_overflow == "spill" and settings.outbox_url is None:
        raise ConfigurationError(
            "'MAIL_BACKGROUND_OVERFLOW' and 'MAIL_OUTBOX_URL' contradict each other: spill needs an outbox."
        )
    if settings.url:
        _refuse_beside_url(config)
    if DEFAULT in dict(settings.transports) and (twice := _given(config, ("url", *_IN_URL))):
        raise ConfigurationError(
            f"'MAIL_TRANSPORTS' and '{twice[0]}' contradict each other: leave the latter out, or the transport"
            " 'default'."
        )
    dkim = ("MAIL_DKIM_DOMAIN", "MAIL_DKIM_SELECTOR", "MAIL_DKIM_KEY")
    missing = [key for key in dkim if not config.get(key)]
    if 0 < len(missing) < len(dkim):
        raise ConfigurationError(f"DKIM needs all of {', '.join(dkim)}: '{missing[0]}' is not set.")
    return settings


def _refuse_beside_url(config: Config) -> None:
    if twice := _given(config, _IN_URL):
        raise ConfigurationError(
            f"'MAIL_URL' and '{twice[0]}' contradict each other: leave one of them out; MAIL_URL names server, port,"
            " user, password and TLS in one."
        )


def _given(config: Config, names: Sequence[str]) -> list[str]:
    """The keys that say something, which the Falses of a configuration written for Flask-Mail do not."""
    return [
        _ROWS[name].key
        for name in names
        if _ROWS[name].read(config) and config.get(_ROWS[name].key)
    ]


def with_options(
    settings: Settings, options: Mapping[str, str], where: str = "MAIL_URL"
) -> Settings:
    """The settings with what the query of a URL says in their place.

    :param where: the setting or argument that the URL stands in, for the error.
    :raises ConfigurationError: an option is unknown or wrong.
    """
    rows = {row.option: (name, row) for name, row in _ROWS.items() if row.option}
    changes: dict[str, Any] = {}
    for option, given in options.items():
        if option not in rows:
            raise ConfigurationError(
                f"'{where}' has an unknown option: {option}. Known are: {', '.join(sorted({'tls', *rows}))}."
            )
        name, row = rows[option]
        changes[name] = row.of.read(given, f"{where}?{option}")
    return replace(settings, **changes)


def of_transport(settings: Settings, given: Mapping[str, object]) -> Settings:
    """The settings for one transport of ``MAIL_TRANSPORTS``: what it does not say is as they say, but for its server.

    :raises ConfigurationError: a word is unknown or wrong, or two contradict each other.
    """
    changes: dict[str, Any] = {name: _ROWS[name].value for name in _ITS_OWN} | {"server": None}
    for word, value in given.items():
        if word not in _OF_A_TRANSPORT:
            known = ", ".join(sorted(_OF_A_TRANSPORT))
            raise ConfigurationError(f"an unknown word; known are: {known}.")
        name, row = _OF_A_TRANSPORT[word]
        if value is not None and value != "":
            changes[name] = row.of.read(value, word)
    url = changes["url"] is not None
    if url == (changes["server"] is not None) or (url and any(changes[one] for one in _IN_URL)):
        raise ConfigurationError(
            "either 'url', which names server, port, user, password and TLS in one, or 'server'."
        )
    if changes["use_tls"] and changes["use_ssl"]:
        raise ConfigurationError(
            "'use_tls' and 'use_ssl' contradict each other: port 587 wants the former, port 465 the latter."
        )
    return replace(settings, **changes)


def unknown_keys(config: Config) -> list[str]:
    """The ``MAIL_*`` keys that are set and mean nothing here, each with the ones that may be meant."""
    known = [row.key for row in SETTINGS]
    mine = {key for key, value in config.items() if key.startswith("MAIL_") and not _unset(value)}
    return [_nearest(key, known) for key in sorted(mine.difference(known))]


def _nearest(key: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    # Without what all have in common, which would make all of them near.
    names = [one.removeprefix("MAIL_") for one in known]
    found = get_close_matches(key.removeprefix("MAIL_"), names, n=2)
    near = " or ".join(f"MAIL_{name}" for name in found)
    return f"{key} (did you mean {near}?)" if near else key
