"""The kinds of values that settings have. They come from Python, or as text from the environment."""

from __future__ import annotations

import math
import os
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from .errors import ConfigurationError
from .mail.address import Address, parse_address
from .rules.staging import pattern
from .rules.states import ENDED


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


#: Bytes of a key.
_KEY = 32

_UNITS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_number_and_unit = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d|w)").fullmatch


def span(text: str) -> float:
    """The seconds of a number with its unit.

    :raises ValueError: it is something else.
    """
    found = _number_and_unit(text.strip())
    if found is None:
        raise ValueError
    return float(found[1]) * _UNITS[found[2]]


def _span(value: object) -> float:
    if value is None or value == "never":
        return math.inf
    if isinstance(value, timedelta):
        return value.total_seconds()
    return span(value) if isinstance(value, str) else _number(value)  # type: ignore[arg-type]  # as above


def _spans(value: object) -> tuple[tuple[str, float], ...]:
    """By state: from a mapping, from text like ``sent=30d, dead=never``, or one for all."""
    if isinstance(value, str) and "=" in value:
        pairs = [str(item).partition("=") for item in _items(value)]
        value = {name.strip(): text.strip() for name, _, text in pairs}
    if isinstance(value, Mapping):
        return tuple((_text(name), _span(given)) for name, given in value.items())
    return tuple((state, _span(value)) for state in ENDED)


def _limits(value: object) -> tuple[tuple[str, Mapping[str, int]], ...]:
    if not isinstance(value, Mapping):
        raise TypeError
    return tuple((_limited(name), _numbers(given)) for name, given in value.items())


def _limited(name: object) -> str:
    """A transport, or the domain of recipients after an at sign, as envelopes have it."""
    if not isinstance(name, str) or not name.strip("@ "):
        raise ValueError
    if not name.startswith("@"):
        return name
    return f"@{_address(f'x{name}').domain.lower()}"


def _numbers(given: object) -> Mapping[str, int]:
    if not isinstance(given, Mapping) or not given or not {*given} <= LIMITED:
        raise ValueError
    return {word: _integer(number) for word, number in given.items()}


def _delays_for(value: object) -> tuple[tuple[str, tuple[float, ...]], ...]:
    if not isinstance(value, Mapping):
        raise TypeError
    return tuple((_outcome(word), _seconds(delays)) for word, delays in value.items())


def _outcome(word: object) -> str:
    """What a temporary failure is told by: a scope, a kind, a reply code, or the beginning of an enhanced one."""
    found = str(word).strip().lower()
    if not (found in SCOPES or re.fullmatch(r"[45]\d\d|4(\.\d{1,3}){1,2}", found)):
        raise ValueError
    return found


def _keys(value: object) -> tuple[bytes, ...]:
    found = tuple(_key(_text(item)) for item in _items(value, " \n"))
    if len(set(found)) != len(found):
        raise ValueError
    return found


def _key(text: str) -> bytes:
    key = b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    if len(key) != _KEY:
        raise ValueError
    return key


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


#: What a limit may name.
LIMITED = frozenset({"second", "minute", "hour", "day", "connections"})

#: What a temporary failure may be of, for its own delays.
SCOPES = frozenset({"recipient", "message", "transport", "unknown"})

#: What a transport may be called: nothing that a URL or a list of names could be taken for.
_transport_name = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}").fullmatch


def _transports(value: object) -> tuple[tuple[str, object], ...]:
    if not isinstance(value, Mapping):
        raise TypeError
    if not all(isinstance(name, str) and _transport_name(name) for name in value):
        raise ValueError
    # Copied: what the application changes later is not followed.
    return tuple(
        (name, dict(given) if isinstance(given, Mapping) else _text(given))
        for name, given in value.items()
    )


def _callable(value: object) -> object:
    if not callable(value):
        raise TypeError
    return value


def _thing(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _options(value: object) -> tuple[tuple[str, object], ...]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise TypeError
    return tuple(value.items())


#: The engines that need no task queue, and the task queues that are known here.
PLAIN_ENGINES = ("outbox", "immediate", "background")
TASK_QUEUES = ("celery", "rq", "dramatiq", "huey")

#: Where other packages name theirs.
ENTRY_POINTS = "flask_outbox.task_queues"


def _engine(value: object) -> str:
    word = str(value).strip().lower()
    if word not in (*PLAIN_ENGINES, *TASK_QUEUES):
        from importlib.metadata import entry_points

        if word not in entry_points(group=ENTRY_POINTS).names:
            raise ValueError
    return word


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
TRANSPORTS = Kind(
    "a mapping of names to URLs or to settings, {'marketing': 'smtp://…'}; a name is of letters, digits, _ . and -",
    _transports,
)
ENGINE = Kind(f"one of: {', '.join((*PLAIN_ENGINES, *TASK_QUEUES))}", _engine)
CALLABLE = Kind("a function", _callable)
THING = Kind("an object, or its import path 'module:name'", _thing)
OPTIONS = Kind("a dict of options", _options)
BOOLEAN = Kind("true or false", boolean)
SECONDS = Kind("a list of seconds", _seconds)
LIMITS = Kind(
    "a mapping of transports and '@domains' to integers for some of second, minute, hour, day and connections:"
    " {'default': {'minute': 60}}",
    _limits,
)
DELAYS_FOR = Kind(
    "a mapping of outcomes to lists of seconds; an outcome is recipient, message, transport, unknown, a reply code or"
    " an enhanced one: {'4.2.2': [3600]}",
    _delays_for,
)
KEYS = Kind(
    "a key of 32 random bytes in base64, or a list of such keys, the current one first", _keys
)
SPAN = Kind("a time like 30d, 12h, 90min or 45s, a timedelta, seconds, or 'never'", _span)
SPANS = Kind(
    f"a time like 30d or 12h, or 'never', for each of {', '.join(ENDED)}: {{'sent': '30d', 'dead': 'never'}}",
    _spans,
)
WORDS = Kind("a list of names", _words)
ADDRESS = Kind(
    "one address: 'name@example.org', 'Name <name@example.org>' or ('Name', 'name@example.org')",
    _address,
)
PATH = Kind("one address, or '<>' for none", _path)
ADDRESSES = Kind("an address or a list of addresses", _addresses)
PATTERNS = Kind("a list of addresses and domains: 'name@example.org, @example.com'", _patterns)
