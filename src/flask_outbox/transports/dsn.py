"""A road written as a URL: ``smtp://user:password@host:587?pool=8``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError

# What urlsplit would leave out without a word.
_control = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Dsn:
    """A URL taken apart, its %XX undone.

    :param host: in small letters; "" where there is none.
    """

    scheme: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    host: str = ""
    port: int | None = None
    path: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


def parse_dsn(url: str, key: str) -> Dsn:
    """Take a URL apart.

    :param key: the setting it stands in, for the error, which never shows the URL: it holds a password.
    :raises ConfigurationError: it is none.
    """
    try:
        return _parse(url.strip())
    except ValueError:
        raise malformed(key) from None


def malformed(key: str) -> ConfigurationError:
    """The error for a URL that is none."""
    return ConfigurationError(
        f"'{key}' must be like smtp://user:password@host:587 or smtps://host:465;"
        " letters of user and password that have a meaning in a URL are written as %XX."
    )


def _parse(url: str) -> Dsn:
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
    )


def _options(query: str) -> list[tuple[str, str]]:
    # Not parse_qsl, for which a plus is a space.
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return [(unquote(name), unquote(value, errors="strict")) for name, _, value in pairs]


def _plain(part: str | None) -> str | None:
    return None if part is None else unquote(part, errors="strict")
