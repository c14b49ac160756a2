"""The mail servers that the settings and URLs name."""

from __future__ import annotations

from sys import maxsize
from typing import Any

from ._settings import Settings, with_options
from .errors import ConfigurationError
from .transports.dsn import Dsn, malformed
from .transports.smtp_settings import SmtpSettings, is_loopback

# RFC 6409 3.1, RFC 8314 3.3; LMTP has none of its own.
_PORTS = {"smtp": 587, "smtps": 465, "lmtp": 24}


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
