"""The roads that the settings and URLs name: what makes a transport inside the loop that will use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from sys import maxsize
from typing import Any

from ._kinds import BOOLEAN
from ._settings import Settings, with_options
from .errors import ConfigurationError, MessageError
from .mail.letter import Letter
from .mail.mime import compose
from .transports.base import Transport
from .transports.console import ConsoleTransport
from .transports.dsn import Dsn, malformed, parse_dsn
from .transports.file import FileTransport
from .transports.memory import MemoryTransport
from .transports.null import NullTransport
from .transports.smtp import SmtpTransport
from .transports.smtp_settings import SmtpSettings, is_loopback

Road = Callable[[], Transport]


def default_road(settings: Settings) -> Road | None:
    """The default transport's; None where there is no server.

    :raises ConfigurationError: what is set about it cannot be.
    """
    if settings.url is None:
        server = smtp_from_keys(settings)
        return None if server is None else _smtp_road(server, settings)
    dsn = parse_dsn(settings.url, "MAIL_URL")
    return _builder(dsn)(dsn, settings)


def default_server(settings: Settings) -> SmtpSettings | None:
    """The server of the default transport; None where it leads to none.

    :raises ConfigurationError: what is set about it cannot be.
    """
    if settings.url is None:
        return smtp_from_keys(settings)
    dsn = parse_dsn(settings.url, "MAIL_URL")
    builder = _builder(dsn)
    if builder is _socket_road:
        return lmtp_from_dsn(dsn, settings)
    return smtp_from_dsn(dsn, settings) if builder is _server_road else None


def half_a_login(settings: Settings) -> str:
    """What to warn of where a user is named and nobody logs in, as with Flask-Mail; or "".

    :raises ConfigurationError: as :func:`default_server`.
    """
    server = default_server(settings)
    if server is None or server.wants_login or not (server.username or server.password):
        return ""
    if settings.url is not None:
        missing = "password" if server.username else "user"
        return f"MAIL_URL has no {missing}: nobody logs in. Write user:password@ before the server's name, or neither."
    missing = "MAIL_PASSWORD" if server.username else "MAIL_USERNAME"
    return f"{missing} is not set: nobody logs in. Set MAIL_USERNAME and MAIL_PASSWORD, or neither."


@dataclass(frozen=True, slots=True)
class PassingRoad:
    """One that a message brings along as a URL.

    :param name: the URL without its password.
    :param secret: whether it has one.
    """

    name: str
    secret: bool
    make: Road


def passing_road(url: str, settings: Settings) -> PassingRoad:
    """The one that a URL names. What it does not say is as the settings say; a token is for their server alone.

    :raises MessageError: it cannot be.
    """
    shown = ""
    try:
        dsn = parse_dsn(url, "transport")
        builder = _builder(dsn)
        # Not before its kind is known: with another one the user, too, may be a secret.
        shown = f"transport={dsn.name!r}: "
        road = builder(dsn, replace(settings, oauth_token=None))
    except ConfigurationError as error:
        raise MessageError(f"{shown}{error}", field="transport") from error
    return PassingRoad(dsn.name, bool(dsn.password), road)


def _builder(dsn: Dsn) -> Callable[[Dsn, Settings], Road]:
    if dsn.scheme not in _BY_SCHEME:
        raise ConfigurationError(f"'{dsn.key}' must begin with one of: {', '.join(SCHEMES)}.")
    return _BY_SCHEME[dsn.scheme]


def _plain_road(dsn: Dsn, settings: Settings) -> Road:
    _refuse(dsn, dsn.options)
    return _PLAIN[dsn.scheme]


def _file_road(dsn: Dsn, settings: Settings) -> Road:
    if dsn.host or len(dsn.path) < 2:
        raise ConfigurationError(
            f"'{dsn.key}' must name the folder by its whole path: file:///var/tmp/mail."
        )
    options = dict(dsn.options)
    maildir = BOOLEAN.read(options.pop("maildir", "no"), f"{dsn.key}?maildir")
    _refuse(dsn, options)
    composer = composer_of(settings)
    return lambda: FileTransport(Path(dsn.path), maildir=maildir, composer=composer)


def _refuse(dsn: Dsn, options: Mapping[str, str]) -> None:
    if options:
        raise ConfigurationError(f"'{dsn.key}' has an unknown option: {min(options)}.")


# -- SMTP ------------------------------------------------------------------------------------------------------


def _server_road(dsn: Dsn, settings: Settings) -> Road:
    return _smtp_road(smtp_from_dsn(dsn, settings), settings)


def _socket_road(dsn: Dsn, settings: Settings) -> Road:
    return _smtp_road(lmtp_from_dsn(dsn, settings), settings)


def _smtp_road(server: SmtpSettings, settings: Settings) -> Road:
    composer = composer_of(settings)
    return lambda: SmtpTransport(server, compose=composer)


def smtp_from_keys(settings: Settings) -> SmtpSettings | None:
    """The server that Flask-Mail's keys name, if they do."""
    if settings.server is None:
        return None
    usual = 465 if settings.use_ssl else 25
    port = usual if settings.port is None else settings.port
    tls = {True: "required", False: "never", None: None}[settings.use_tls]
    tls = "implicit" if settings.use_ssl else tls
    login = settings.username, settings.password
    return _smtp(settings, settings.server, port, *login, tls=tls)


def smtp_from_dsn(dsn: Dsn, settings: Settings) -> SmtpSettings:
    """The server that a URL names.

    :raises ConfigurationError: it names none, or an option is wrong.
    """
    if not dsn.host or dsn.path not in ("", "/"):
        raise malformed(dsn.key)
    options = dict(dsn.options)
    tls = options.pop("tls", None)
    if dsn.scheme == "smtps":
        if tls not in (None, "implicit"):
            raise ConfigurationError(
                f"'{dsn.key}' contradicts itself: smtps:// is TLS from the first byte, and its option tls is not."
            )
        tls = "implicit"
    return _smtp(
        with_options(settings, options, dsn.key),
        dsn.host,
        _PORTS[dsn.scheme] if dsn.port is None else dsn.port,
        dsn.username,
        dsn.password,
        tls="required" if tls == "starttls" else tls,
        lmtp=dsn.scheme == "lmtp",
    )


def lmtp_from_dsn(dsn: Dsn, settings: Settings) -> SmtpSettings:
    """The server behind the Unix socket that a URL names."""
    if dsn.host or len(dsn.path) < 2:
        raise ConfigurationError(
            f"'{dsn.key}' must name the socket, like lmtp+unix:///run/lmtp.sock."
        )
    settings = with_options(settings, dsn.options, dsn.key)
    return _smtp(settings, "localhost", 24, None, None, lmtp=True, socket=dsn.path)


def _smtp(
    settings: Settings,
    host: str,
    port: int,
    username: str | None,
    password: str | None,
    *,
    tls: str | None = None,
    **more: Any,
) -> SmtpSettings:
    if settings.auth_mechanisms is not None:
        more["auth_mechanisms"] = settings.auth_mechanisms
    return SmtpSettings(
        host=host,
        port=port,
        username=username,
        password=password,
        tls=tls or _default_tls(host, port, username),
        tls_verify=settings.tls_verify,
        tls_ca=settings.tls_ca,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
        local_hostname=settings.local_hostname,
        timeout=settings.timeout or None,
        pool_size=settings.pool_size,
        max_messages=settings.max_emails or maxsize,  # 0 is no limit, in Flask-Mail
        max_age=settings.pool_max_age,
        idle_timeout=settings.pool_idle_timeout,
        pipelining=settings.pipelining,
        source_address=settings.source_address,
        token=settings.oauth_token,
        **more,
    )


def _default_tls(host: str, port: int, username: str | None) -> str:
    """What is done about TLS where nothing was said: never less than the secrets need."""
    if port == 465:
        return "implicit"
    if is_loopback(host):
        return "never"
    return "required" if username or port == 587 else "opportunistic"


# -- DKIM ------------------------------------------------------------------------------------------------------


def composer_of(settings: Settings) -> Callable[[Letter], bytes]:
    """What makes a letter's bytes, signed where DKIM is set."""
    if settings.dkim_key is None:
        return compose
    from .mail.dkim import Signer, signing_composer

    domain, selector = settings.dkim_domain or "", settings.dkim_selector or ""
    return signing_composer(Signer(domain, selector, _pem(settings.dkim_key)))


def _pem(given: str) -> str | bytes:
    if "-----BEGIN" in given:
        # An environment variable may hold its line ends as they are written in Python.
        return given.replace("\\n", "\n")
    try:
        return Path(given).read_bytes()
    except (OSError, ValueError):
        raise ConfigurationError("'MAIL_DKIM_KEY' must be PEM text or a readable file.") from None


_PLAIN: dict[str, Road] = {
    "console": ConsoleTransport,
    "memory": MemoryTransport,
    "null": NullTransport,
}

# RFC 6409 3.1, RFC 8314 3.3; LMTP has none of its own.
_PORTS = {"smtp": 587, "smtps": 465, "lmtp": 24}

_BY_SCHEME: dict[str, Callable[[Dsn, Settings], Road]] = {
    "smtp": _server_road,
    "smtps": _server_road,
    "lmtp": _server_road,
    "lmtp+unix": _socket_road,
    "file": _file_road,
    **dict.fromkeys(_PLAIN, _plain_road),
}

#: What a URL may begin with.
SCHEMES = tuple(f"{scheme}://" for scheme in _BY_SCHEME)
