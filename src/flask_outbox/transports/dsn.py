"""A road written as a URL: ``smtp://user:password@host:587?pool=8``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError

# What urlsplit would leave out without a word.
_control = re.compile(r"[\x00-\x1f\x7f]")

# The last @ before the path ends user and password, as for urlsplit; whatever a user may hold, no colon.
_password = re.compile(r"(?<=://)([^/?#:]*):[^/?#]*@")


@dataclass(frozen=True, slots=True)
class Dsn:
    """A URL taken apart, its %XX undone.

    :param host: in small letters; "" where there is none.
    :param key: the setting or argument it stands in, for errors.
    :param name: the URL without its password, and without spaces.
    """

    scheme: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    host: str = ""
    port: int | None = None
    path: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    key: str = "MAIL_URL"
    name: str = field(default="", compare=False)


def parse_dsn(url: str, key: str) -> Dsn:
    """Take a URL apart.

    :param key: the setting or argument it stands in, for the error, which never shows the URL: it holds a password.
    :raises ConfigurationError: it is none.
    """
    try:
        return _parse(url.strip(), key)
    except ValueError:
        raise malformed(key) from None


def is_url(transport: str) -> bool:
    """Whether what is given for a transport is no name but says by itself what it is."""
    return "://" in transport


def malformed(key: str) -> ConfigurationError:
    """The error for a URL that is none."""
    return ConfigurationError(
        f"'{key}' must be like smtp://user:password@host:587 or smtps://host:465;"
        " letters of user and password that have a meaning in a URL are written as %XX."
    )


def _parse(url: str, key: str) -> Dsn:
    parts = urlsplit(url)
    # An @ there: a slash, a hash or a question mark in the password has ended the host.
    if not parts.scheme or _control.search(url) or "@" in parts.path + parts.query + parts.fragment:
        raise ValueError
    return Dsn(
        parts.scheme,
        _plain(parts.username),
        _plain(parts.password),
        parts.hostname or "",
        parts.port,
        unquote(parts.path, errors="strict"),
        dict(_options(parts.query)),
        key,
        _password.sub(r"\1@", url, count=1).replace(" ", "%20"),
    )


def _options(query: str) -> list[tuple[str, str]]:
    # Not parse_qsl, for which a plus is a space.
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return [(unquote(name), unquote(value, errors="strict")) for name, _, value in pairs]


def _plain(part: str | None) -> str | None:
    return None if part is None else unquote(part, errors="strict")
