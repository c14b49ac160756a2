"""The roads that the settings and URLs name: what makes a transport inside the loop that will use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from ._kinds import BOOLEAN
from ._servers import lmtp_from_dsn, smtp_from_dsn, smtp_from_keys
from ._settings import DEFAULT, Settings, of_transport
from .errors import ConfigurationError, MessageError
from .mail.content import Composed
from .mail.letter import Letter
from .mail.mime import composed
from .rules.roads import Rests
from .transports.base import Transport
from .transports.console import ConsoleTransport
from .transports.dsn import WRAPPERS, Dsn, parse_dsn, wrapping
from .transports.failover import FailoverTransport
from .transports.file import FileTransport
from .transports.memory import MemoryTransport
from .transports.null import NullTransport
from .transports.roundrobin import RoundRobinTransport
from .transports.smtp import SmtpTransport
from .transports.smtp_settings import SmtpSettings

Road = Callable[[], Transport]

#: What makes a transport that may be made of others, which it finds by their names.
_Maker = Callable[[Callable[[str], Transport]], Transport]


@dataclass(frozen=True, slots=True, repr=False)
class Signpost:
    """What is said of one configured transport.

    :param settings: its own.
    :param dsn: its URL taken apart; None where single keys say what it is.
    """

    name: str
    settings: Settings
    dsn: Dsn | None

    @property
    def server(self) -> SmtpSettings | None:
        """Its server; None where it leads to none, or is made of others.

        :raises ConfigurationError: what is said of it cannot be.
        """
        if self.dsn is None:
            return smtp_from_keys(self.settings)
        if self.dsn.scheme == "lmtp+unix":
            return lmtp_from_dsn(self.dsn, self.settings)
        is_server = _BY_SCHEME.get(self.dsn.scheme) is _server_road
        return smtp_from_dsn(self.dsn, self.settings) if is_server else None

    @property
    def ends(self) -> Iterator[Signpost]:
        """Itself, or those that its URL is made of, but for names of others."""
        if self.dsn is None or not self.dsn.members:
            yield self
            return
        for one in self.dsn.members:
            if one.scheme:
                yield from Signpost(one.name, self.settings, one).ends

    @property
    def half_a_login(self) -> str:
        """What to warn of where a user is named and nobody logs in, as with Flask-Mail; or "".

        :raises ConfigurationError: as :attr:`server`.
        """
        found = (_half_a_login(server, self) for end in self.ends if (server := end.server))
        return next(filter(None, found), "")


def signposts(settings: Settings) -> list[Signpost]:
    """The configured transports; the default first, where there is one.

    :raises ConfigurationError: what is said of one cannot be read.
    """
    posts = [_signpost(name, given, settings) for name, given in settings.transports]
    if DEFAULT in dict(settings.transports):
        return sorted(posts, key=lambda post: post.name != DEFAULT)
    if settings.url is not None:
        return [Signpost(DEFAULT, settings, parse_dsn(settings.url, "MAIL_URL")), *posts]
    return posts if settings.server is None else [Signpost(DEFAULT, settings, None), *posts]


def _signpost(name: str, given: str | Mapping[str, object], settings: Settings) -> Signpost:
    with _told_of(name):
        if isinstance(given, str):
            given = {"url": given}
        if wrapper := next((word for word in WRAPPERS if word in given), ""):
            members, given = given[wrapper], {k: v for k, v in given.items() if k != wrapper}
            if isinstance(members, str) or not isinstance(members, Sequence) or "url" in given:
                raise ConfigurationError(
                    f"'{wrapper}' must be a list of URLs and names, and stand in the place of 'url'."
                )
            dsn = wrapping(wrapper, [str(one) for one in members], wrapper)
            return Signpost(name, of_transport(settings, {"url": dsn.name} | given), dsn)
        own = of_transport(settings, given)
        return Signpost(name, own, None if own.url is None else parse_dsn(own.url, "url"))


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Let errors say which transport they are about."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"MAIL_TRANSPORTS[{name!r}]: {error}") from error


def _half_a_login(server: SmtpSettings, post: Signpost) -> str:
    if server.wants_login or not (server.username or server.password):
        return ""
    named = post.name in dict(post.settings.transports)
    where = f"MAIL_TRANSPORTS[{post.name!r}]" if named else "MAIL_URL"
    if post.dsn is not None:
        missing = "password" if server.username else "user"
        return f"{where} has no {missing}: nobody logs in. Write user:password@ before the server's name, or neither."
    words = ("username", "password") if named else ("MAIL_USERNAME", "MAIL_PASSWORD")
    missing = words[bool(server.username)]
    prefix = f"{where}: " if named else ""
    return (
        f"{prefix}{missing} is not set: nobody logs in. Set {words[0]} and {words[1]}, or neither."
    )


class Roads:
    """The configured roads of one application.

    :param own: gives the settings of one in the form in which they are used.
    :raises ConfigurationError: one of them cannot be.
    """

    def __init__(
        self, settings: Settings, own: Callable[[Settings], Settings] = lambda s: s
    ) -> None:
        # Shared by all that is made of them in this process.
        self._rests = Rests()
        self._makers: dict[str, _Maker] = {}
        posts = signposts(settings)
        #: The settings of those in ``MAIL_TRANSPORTS``.
        self.named = {
            post.name: post.settings for post in posts if post.name in dict(settings.transports)
        }
        for post in posts:
            with _told_of(post.name) if post.name in self.named else nullcontext():
                self._makers[post.name] = _maker(post.dsn, own(post.settings), self._rests)
        self._check({post.name: set(post.dsn.names) if post.dsn else set() for post in posts})

    def _check(self, made_of: Mapping[str, set[str]]) -> None:
        """Whether each can be made of others."""
        left, ready = dict(made_of), set[str]()
        if any(one not in made_of for others in made_of.values() for one in others):
            known = ", ".join(made_of)
            raise ConfigurationError(
                f"failover and roundrobin must hold URLs or names of transports; there are: {known}."
            )
        while now := {name for name, others in left.items() if others <= ready}:
            ready |= now
            left = {name: others for name, others in left.items() if name not in now}
        if left:
            raise ConfigurationError(
                f"MAIL_TRANSPORTS: these are made of one another: {', '.join(sorted(left))}."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called; ``default`` always is one, also where it waits for a server."""
        return tuple(dict.fromkeys([DEFAULT, *self._makers]))

    def make(self) -> dict[str, Transport]:
        """All of them, for one event loop."""
        made: dict[str, Transport] = {}

        def find(name: str) -> Transport:
            if name not in made:
                made[name] = self._makers[name](find)
            return made[name]

        return {name: find(name) for name in self._makers}


def _maker(dsn: Dsn | None, settings: Settings, rests: Rests) -> _Maker:
    """:raises ConfigurationError: it cannot be made."""
    if dsn is None:
        server = smtp_from_keys(settings)
        assert server is not None
        road = _smtp_road(server, settings)
    elif dsn.members:
        return _wrapper(dsn, settings, rests)
    else:
        road = _builder(dsn)(dsn, settings)
    return lambda find: road()


def _wrapper(dsn: Dsn, settings: Settings, rests: Rests) -> _Maker:
    if settings.oauth_token is not None:
        raise ConfigurationError(
            "a token is for one server alone: give that a name in MAIL_TRANSPORTS and an 'oauth_token', and its name"
            f" to {dsn.scheme}."
        )
    own = {one.name: _maker(one, settings, rests) for one in dsn.members if one.scheme}
    names = [one.name for one in dsn.members]
    borrowed = [name for name in names if name not in own]
    kind = RoundRobinTransport if dsn.scheme == "roundrobin" else FailoverTransport

    def make(find: Callable[[str], Transport]) -> Transport:
        roads = {name: own[name](find) if name in own else find(name) for name in names}
        return kind(roads, rests=rests, borrowed=borrowed)

    return make


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
        if next(dsn.names, None):
            raise ConfigurationError(
                "'transport' must hold URLs only in its brackets; what holds names is configured in MAIL_TRANSPORTS."
            )
        for end in Signpost("", settings, dsn).ends:
            assert end.dsn is not None
            _builder(end.dsn)
        # Not before its kind is known: with another one the user, too, may be a secret.
        shown = f"transport={dsn.name!r}: "
        make = _maker(dsn, replace(settings, oauth_token=None), Rests())
    except ConfigurationError as error:
        raise MessageError(f"{shown}{error}", field="transport") from error
    return PassingRoad(dsn.name, dsn.secret, lambda: make(_nobody))


def _nobody(name: str) -> Transport:
    raise LookupError(name)  # it holds no names


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


# -- DKIM ------------------------------------------------------------------------------------------------------


def composer_of(settings: Settings) -> Callable[[Letter], Composed]:
    """What makes a letter's bytes, signed where DKIM is set."""
    if settings.dkim_key is None:
        return composed
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

_BY_SCHEME: dict[str, Callable[[Dsn, Settings], Road]] = {
    "smtp": _server_road,
    "smtps": _server_road,
    "lmtp": _server_road,
    "lmtp+unix": _socket_road,
    "file": _file_road,
    **dict.fromkeys(_PLAIN, _plain_road),
}

#: What a URL may begin with.
SCHEMES = (*(f"{scheme}://" for scheme in _BY_SCHEME), *(f"{kind}(" for kind in WRAPPERS))
