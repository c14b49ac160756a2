"""A road written as a URL: ``smtp://user:password@host:587?pool=8``, or several: ``failover(smtp://a smtp://b)``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError

# What urlsplit would leave out without a word.
_control = re.compile(r"[\x00-\x1f\x7f]")

# The last @ before the path ends user and password, as for urlsplit; whatever a user may hold, no colon.
_password = re.compile(r"(?<=://)([^/?#:]*):[^/?#]*@")

#: What holds other roads, in brackets.
WRAPPERS = ("failover", "roundrobin")

_wrapper = re.compile(rf"({'|'.join(WRAPPERS)})\((.*)\)", re.DOTALL).fullmatch

#: A member that is the name of a configured transport.
_name = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}").fullmatch


@dataclass(frozen=True, slots=True)
class Dsn:
    """A URL taken apart, its %XX undone.

    :param scheme: "" where it is no URL, but the name of a configured transport among the ``members`` of another.
    :param host: in small letters; "" where there is none.
    :param key: the setting or argument it stands in, for errors.
    :param name: the URL without its password, and without spaces.
    :param members: those in the brackets of a wrapper.
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
    members: tuple[Dsn, ...] = ()

    @property
    def secret(self) -> bool:
        """Whether it holds a password."""
        return bool(self.password) or any(one.secret for one in self.members)

    @property
    def names(self) -> Iterator[str]:
        """The configured transports that it is made of."""
        if not self.scheme:
            yield self.name
        for one in self.members:
            yield from one.names


def parse_dsn(url: str, key: str) -> Dsn:
    """Take a URL apart, and what a wrapper holds.

    :param key: the setting or argument it stands in, for the error, which never shows the URL: it holds a password.
    :raises ConfigurationError: it is none.
    """
    url = url.strip()
    if wrapped := _wrapper(url):
        return wrapping(wrapped[1], _words(wrapped[2], key), key)
    try:
        return _parse(url, key)
    except ValueError:
        raise malformed(key) from None


def wrapping(scheme: str, members: Sequence[str], key: str) -> Dsn:
    """A wrapper around some roads.

    :param members: URLs, and names of configured transports.
    :raises ConfigurationError: one of them is neither, or two are the same.
    """
    found = tuple(
        Dsn("", key=key, name=one) if _name(one) else parse_dsn(one, key) for one in members
    )
    names = [one.name for one in found]
    if not names or len(set(names)) < len(names):
        raise _ill_wrapped(key)
    return Dsn(scheme, key=key, name=f"{scheme}({'|'.join(names)})", members=found)


def is_url(transport: str) -> bool:
    """Whether what is given for a transport is no name but says by itself what it is."""
    return "://" in transport or _wrapper(transport.strip()) is not None


def malformed(key: str) -> ConfigurationError:
    """The error for a URL that is none."""
    return ConfigurationError(
        f"'{key}' must be like smtp://user:password@host:587 or smtps://host:465;"
        " letters of user and password that have a meaning in a URL are written as %XX."
    )


def _ill_wrapped(key: str) -> ConfigurationError:
    return ConfigurationError(
        f"'{key}' must hold different URLs or names in its brackets, with spaces between:"
        " failover(smtp://a.example.org smtp://b.example.org); brackets and bars in a password are written as %28, %29"
        " and %7C."
    )


def _words(text: str, key: str) -> list[str]:
    """What stands between spaces or bars, but for those in brackets. A URL's own are written as %XX."""
    words, depth = [""], 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if depth < 0:
            raise _ill_wrapped(key)
        if (char.isspace() or char == "|") and not depth:
            words.append("")
        else:
            words[-1] += char
    if depth:
        raise _ill_wrapped(key)
    return [word for word in words if word]


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
