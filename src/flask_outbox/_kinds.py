"""The kinds of values that settings have. They come from Python, or as text from the environment."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from .errors import ConfigurationError
from .mail.address import Address, parse_address
from .rules.staging import pattern


class Kind(NamedTuple):
    """What a value must be.

    :param name: as it stands after "must be".
    :param convert: raises ValueError or TypeError for anything else.
    """

    name: str
    convert: Callable[[Any], object]

    def read(self, given: object, called: str) -> Any:
        """A value in this kind.

        :param called: the key, for the error.
        :raises ConfigurationError: it is of another kind.
        """
        try:
            return self.convert(given)
        except (TypeError, ValueError, OverflowError):
            # Without the cause, whose text shows the value.
            raise ConfigurationError(f"'{called}' must be {self.name}.") from None


def boolean(value: object) -> bool:
    """True and False, also as people write them in the environment."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in {"true", "yes", "on"}:
            return True
        return False if word in {"false", "no", "off"} else bool(int(word))
    return bool(value)


def _integer(value: str | int | float) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)


def _number(value: str | float) -> float:
    if isinstance(value, bool) or not math.isfinite(number := float(value)):
        raise ValueError
    return number


def _text(value: object) -> str:
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    # A float is what JSON made of a password like 1e5, which cannot be found again.
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise TypeError
    return str(value)


def _database(value: Any) -> str:
    # An SQLAlchemy URL's own text hides the password.
    return value.render_as_string(False) if hasattr(value, "render_as_string") else _text(value)


def _items(value: object, separators: str = ",") -> list[object]:
    """A list, or text with separators between its items."""
    if isinstance(value, str):
        for separator in separators:
            value = value.replace(separator, ",")
        value = [item.strip() for item in value.split(",") if item.strip()]
    if not isinstance(value, (list, tuple, set, frozenset)) or not value:
        raise ValueError
    return list(value)


def _seconds(value: object) -> tuple[float, ...]:
    return tuple(map(_number, _items(value)))  # type: ignore[arg-type]  # it refuses what is no number


def _words(value: object) -> tuple[str, ...]:
    return tuple(_text(item).upper() for item in _items(value, " "))


def _address(value: Any) -> Address:
    return parse_address(value, "")


def _path(value: Any) -> str:
    return "" if value == "<>" else _address(value).addr


def _addresses(value: Any) -> tuple[str, ...]:
    try:
        return (_address(value).addr,)
    except (TypeError, ValueError):
        return tuple(_address(one).addr for one in _items(value))


def _patterns(value: object) -> tuple[str, ...]:
    found = []
    for item in _items(value, " ;"):
        local, _, domain = pattern(_text(item)).rpartition("@")
        # The domains of envelopes are ASCII.
        ascii_domain = domain if domain.isascii() else _address(f"x@{domain}").domain
        found.append(f"{local}@{ascii_domain}")
    return tuple(found)


def _callable(value: object) -> object:
    if not callable(value):
        raise TypeError
    return value


def one_of(*allowed: str) -> Kind:
    def convert(value: object) -> str:
        word = str(value).strip().lower()
        if word not in allowed:
            raise ValueError
        return word

    return Kind(f"one of: {', '.join(allowed)}", convert)


TEXT = Kind("text, in quotes where it looks like a number", _text)
URL = Kind("a URL", _text)
DATABASE = Kind("a database URL", _database)
FILE = Kind("a file's path", _text)
PEM = Kind("PEM text or a file's path", _text)
INTEGER = Kind("an integer", _integer)
NUMBER = Kind("a number", _number)
CALLABLE = Kind("a function", _callable)
BOOLEAN = Kind("true or false", boolean)
SECONDS = Kind("a list of seconds", _seconds)
WORDS = Kind("a list of names", _words)
ADDRESS = Kind(
    "one address: 'name@example.org', 'Name <name@example.org>' or ('Name', 'name@example.org')",
    _address,
)
PATH = Kind("one address, or '<>' for none", _path)
ADDRESSES = Kind("an address or a list of addresses", _addresses)
PATTERNS = Kind("a list of addresses and domains: 'name@example.org, @example.com'", _patterns)
