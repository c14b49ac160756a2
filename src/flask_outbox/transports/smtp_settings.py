"""What is set about one SMTP server."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import ConfigurationError
from .smtp_sasl import BEARER, MECHANISMS

_TLS = ("required", "opportunistic", "never", "implicit")

#: No white space, no controls, nothing that ends a command: a name or an address.
_NAME = re.compile(r"[^\x00-\x20\x7f<>\"]+").fullmatch


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """One server, and how it is spoken to.

    :param socket: a Unix socket's path, instead of host and port.
    :param lmtp: LMTP is spoken there (RFC 2033).
    :param source_address: this machine's address that connections come from.
    :param token: gives the token of OAuth, instead of a password; called in a thread of its own for each
        connection, and once more when the token was refused.
    :param tls: ``"required"``: STARTTLS or nothing; ``"opportunistic"``: STARTTLS where it is offered,
        without asking who is there (RFC 7435); ``"never"``; ``"implicit"``: TLS from the first byte.
    :param tls_verify: False trusts any certificate, for the login too.
    :param tls_ca: a file with the authorities to trust instead of the system's.
    :param tls_cert: a file with this client's own certificate; its key there or in ``tls_key``.
    :param local_hostname: the name in EHLO; by default this machine's, or its address.
    :param timeout: seconds to wait for anything, at most; by default 10 for the connection and for
        replies what RFC 5321 §4.5.3.2 says.
    :param max_messages: letters a connection carries before it is replaced.
    :param max_age: seconds a connection lives before it is replaced.
    :param idle_timeout: seconds after which a connection with nothing to do is closed.
    :param pipelining: whether it is used where the server announces it.
    :param auth_mechanisms: those that may be used, in the order of preference. EXTERNAL, by the client's
        certificate, is used only where it stands here.
    """

    host: str
    port: int = 25
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: str = "opportunistic"
    tls_verify: bool = True
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    local_hostname: str | None = None
    timeout: float | None = None
    pool_size: int = 4
    max_messages: int = 100
    max_age: float = 600.0
    idle_timeout: float = 30.0
    pipelining: bool = True
    auth_mechanisms: tuple[str, ...] = tuple(name for name in MECHANISMS if name != "EXTERNAL")
    source_address: str | None = None
    socket: str | None = None
    lmtp: bool = False
    token: Callable[[], str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_names()
        self._check_tls()
        self._check_login()

    @property
    def login(self) -> tuple[str, str] | None:
        """User name and password, where both are set."""
        return (self.username, self.password) if self.username and self.password else None

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """Those of the allowed mechanisms that there is something to say in."""
        sayable = dict.fromkeys(MECHANISMS, self.login is not None)
        sayable |= dict.fromkeys(BEARER, self.token is not None)
        sayable["EXTERNAL"] = self.tls_cert is not None
        return tuple(name for name in self.auth_mechanisms if sayable[name])

    @property
    def wants_login(self) -> bool:
        """Whether letters may only go after a login."""
        return bool(self.login or self.token or self.mechanisms)

    @property
    def name(self) -> str:
        """The server, as a person knows it."""
        return self.socket or f"{self.host}:{self.port}"

    def patience(self, ceiling: float) -> float:
        """Seconds to wait for something that may take so long at most."""
        return min(self.timeout, ceiling) if self.timeout else ceiling

    def context(self) -> ssl.SSLContext | None:
        """How TLS is set up, or None without TLS. Building it reads the system's authorities."""
        if self.tls == "never":
            return None
        try:
            context = ssl.create_default_context(cafile=self.tls_ca)
        except OSError as error:
            raise ConfigurationError(
                "'MAIL_TLS_CA' must be a readable file of PEM certificates."
            ) from error
        if self.tls == "opportunistic" or not self.tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.tls_cert:
            try:
                # Without a password given here OpenSSL would ask for one on the terminal.
                context.load_cert_chain(self.tls_cert, self.tls_key, password="")
            except OSError as error:
                raise ConfigurationError(
                    "'MAIL_TLS_CERT' and 'MAIL_TLS_KEY' must be readable PEM files of a certificate"
                    " and its key, without a password."
                ) from error
        return context

    def _check_numbers(self) -> None:
        if not 0 < self.port < 65_536:
            raise ConfigurationError("'MAIL_PORT' must be an integer from 1 to 65535.")
        for key, value in (
            ("MAIL_TIMEOUT", self.timeout),
            ("MAIL_POOL_SIZE", self.pool_size),
            ("MAIL_POOL_MAX_AGE", self.max_age),
            ("MAIL_POOL_IDLE_TIMEOUT", self.idle_timeout),
            ("MAIL_MAX_EMAILS", self.max_messages),
        ):
            if value is not None and value <= 0:
                raise ConfigurationError(f"'{key}' must be a number above 0.")

    def _check_names(self) -> None:
        if self.socket and not hasattr(socket, "AF_UNIX"):
            raise ConfigurationError(
                "'MAIL_URL' names a Unix socket, which this platform does not have: let the server listen on a"
                " port, and name that by lmtp://host:port."
            )
        try:
            self.host.encode("idna")
        except UnicodeError:
            valid = False
        else:
            valid = bool(_NAME(self.host))
        if not valid:
            raise ConfigurationError("'MAIL_SERVER' must be a host name or an address.")
        if self.source_address is not None:
            try:
                ipaddress.ip_address(self.source_address)
            except ValueError as error:
                raise ConfigurationError(
                    "'MAIL_SOURCE_ADDRESS' must be an address of this machine."
                ) from error
        name = self.local_hostname
        if name is not None and not (name.isascii() and _NAME(name)):
            raise ConfigurationError("'MAIL_LOCAL_HOSTNAME' must be a host name.")

    def _check_login(self) -> None:
        unknown = set(self.auth_mechanisms) - set(MECHANISMS)
        if unknown:
            known = ", ".join(MECHANISMS)
            raise ConfigurationError(f"'MAIL_AUTH_MECHANISMS' may hold: {known}.")
        if "EXTERNAL" in self.auth_mechanisms and not self.tls_cert:
            raise ConfigurationError("'MAIL_AUTH_MECHANISMS': EXTERNAL needs 'MAIL_TLS_CERT'.")
        if self.token and not self.username:
            raise ConfigurationError("'MAIL_OAUTH_TOKEN' needs 'MAIL_USERNAME' beside it.")
        # RFC 4616 §2 and RFC 7628 §3.1: NUL and SOH are what separates the words.
        if any(char in (self.username or "") + (self.password or "") for char in "\0\x01"):
            raise ConfigurationError(
                "'MAIL_USERNAME' and 'MAIL_PASSWORD' must not hold NUL or SOH."
            )
        if not self.wants_login or self.tls in ("required", "implicit"):
            return
        if not self.socket and not is_loopback(self.host):
            key = "MAIL_OAUTH_TOKEN" if self.token else "MAIL_PASSWORD"
            raise ConfigurationError(
                f"'{key}' is not sent to another machine without TLS that checks who is there:"
                " set 'MAIL_USE_TLS' (STARTTLS, mostly port 587) or 'MAIL_USE_SSL' (mostly port 465)."
            )

    def _check_tls(self) -> None:
        if self.tls not in _TLS:
            raise ConfigurationError(
                f"'MAIL_URL' must name one of these as tls: {', '.join(_TLS)}."
            )
        if self.tls_key and not self.tls_cert:
            raise ConfigurationError("'MAIL_TLS_KEY' needs 'MAIL_TLS_CERT' beside it.")
        if self.tls_ca or self.tls_cert:
            self.context()


def is_loopback(host: str) -> bool:
    """Whether the host can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
