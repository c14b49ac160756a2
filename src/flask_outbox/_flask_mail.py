"""The face of Flask-Mail 0.10: its names, signatures and habits, on top of ours.

A send goes the way that Flask-Mail's goes, because people override each step of it: ``Mail.send``, ``Mail.connect``,
``Message.send``, ``Connection.send``. Behind the last one stands the application's :class:`Desk`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from flask import Flask, current_app, has_app_context

from ._message import Message, overrides
from .mail.address import Address, Written, parse_address
from .mail.message import Message as Draft
from .signals import email_dispatched

if TYPE_CHECKING:
    import smtplib

    from .engines.base import Receipt
    from .ledger.reports import MessageView, Reports, Status
    from .mail.letter import Letter


class SendOptions(NamedTuple):
    """The keywords of :meth:`_MailMixin.send`."""

    engine: str | None = None
    delay: timedelta | None = None
    at: datetime | None = None
    expires: datetime | timedelta | None = None
    priority: str | None = None
    key: str | None = None
    guarantee: str = "at_least_once"


class Desk(Protocol):
    """What stands behind the face of one application."""

    @property
    def state(self) -> _Mail:
        """The application's ``app.extensions["mail"]``."""
        ...

    @state.setter
    def state(self, state: _Mail) -> None: ...

    def submit(self, connection: Connection, message: object, path: Written | None) -> Receipt:
        """Check a message and hand it to its engine, or to the connection's own host."""
        ...

    def seal(self, state: _Mail, message: Draft, id: str, now: float) -> Letter:
        """Make a letter of a message, with what the settings say where it says nothing."""
        ...

    def unsent(self) -> Receipt:
        """The receipt for what some override of a step did not hand on."""
        ...

    def wants_host(self, connection: Connection) -> bool:
        """Whether a connection whose ``configure_host`` is overridden is to call it."""
        ...

    def reports(self) -> Reports:
        """What became of the messages."""
        ...


class _MailMixin:
    """What :class:`flask_outbox.Mail` and ``app.extensions["mail"]`` can both do."""

    __slots__ = ()

    desk: Desk | None

    def send(
        self,
        message: Message,
        *,
        engine: str | None = None,
        delay: timedelta | None = None,
        at: datetime | None = None,
        expires: datetime | timedelta | None = None,
        priority: str | None = None,
        key: str | None = None,
        guarantee: str = "at_least_once",
    ) -> Receipt:
        """Send a message: with the outbox engine store it and return, with the immediate one deliver it.

        :param message: one of ours, of Flask-Mail, or of the standard library.
        :param engine: overrides ``MAIL_ENGINE`` for this message.
        :param delay: send no earlier than after this time.
        :param at: send no earlier than this moment; it needs a time zone.
        :param expires: do not send any more after this moment, or this long after now.
        :param priority: ``"high"``, ``"normal"`` or ``"low"``; the message's own where it is left out.
        :param key: the caller's name for this send; a second one with the same key stores nothing and gives the
            first one's receipt.
        :param guarantee: ``"at_least_once"``, or ``"at_most_once"`` for what must not arrive twice: then a
            message whose answer was lost is not sent again but waits for a person as ``uncertain``.
        :raises MessageError: the message is wrong; ``field`` names where.
        :raises OutboxError: it could not be stored.
        :raises DeliveryError: with the immediate engine, a recipient did not get it.
        """
        connection = self.connect()
        connection.options = SendOptions(engine, delay, at, expires, priority, key, guarantee)
        with connection:
            if hasattr(message, "send"):
                message.send(connection)
            else:
                connection.send(message)
        return connection.receipt or self.find_desk().unsent()

    def send_message(self, *args: Any, **kwargs: Any) -> Receipt:
        """Make a :class:`Message` of the arguments and send it."""
        return self.send(Message(*args, **kwargs))

    def connect(self) -> Connection:
        """What several messages are sent over: ``with mail.connect() as connection: connection.send(message)``."""
        return Connection(self.find_desk().state)

    @contextmanager
    def record_messages(self) -> Iterator[list[Message]]:
        """Collect what is sent meanwhile, at its acceptance, whatever the engine; for tests."""
        outbox: list[Message] = []

        def record(app: Flask, message: Message) -> None:
            outbox.append(message)

        with email_dispatched.connected_to(record):
            yield outbox

    def get(self, id: str) -> MessageView | None:
        """A stored message with its recipients and attempts, or None."""
        return self.find_desk().reports().get(id)

    def messages(self, *, state: str | None = None, limit: int = 50) -> Sequence[MessageView]:
        """Stored messages, newest first.

        :param state: only those in this state.
        """
        return self.find_desk().reports().list(state=state, limit=limit)

    def status(self) -> Status:
        """Counts, lanes and workers at this moment."""
        return self.find_desk().reports().status(time.time())

    def find_desk(self) -> Desk:
        """The desk of the current application, or of the only one.

        :raises RuntimeError: there is none.
        """
        here: Desk | None = (
            current_app.extensions.get("flask_outbox") if has_app_context() else None
        )
        desk = here or self.desk
        if desk is not None:
            return desk
        if has_app_context():
            raise RuntimeError(
                "The current Flask app has no Mail. Call 'mail.init_app(app)' where it is made."
            )
        raise RuntimeError(
            "This 'Mail' does not know for which application to send: push an application context,"
            " 'with app.app_context():'."
        )


class _Mail(_MailMixin):
    """``app.extensions["mail"]``: Flask-Mail's settings of one application. Changes are heeded by the next send."""

    __slots__ = ("__dict__", "__weakref__", "desk")

    def __init__(
        self,
        server: str | None,
        username: str | None,
        password: str | None,
        port: int | None,
        use_tls: bool,
        use_ssl: bool,
        default_sender: Written | None,
        debug: int,
        max_emails: int | None,
        suppress: bool,
        ascii_attachments: bool,
    ) -> None:
        self.desk: Desk | None = None
        self.server = server
        self.username = username
        self.password = password
        self.port = port
        self.use_tls = use_tls
        self.use_ssl = use_ssl
        self.default_sender = default_sender
        self.debug = debug
        self.max_emails = max_emails
        self.suppress = suppress
        self.ascii_attachments = ascii_attachments


class Connection:
    """What messages are sent over, one after the other.

    It opens nothing itself: the engine decides when and over which of its pooled connections they go.

    :param mail: the application's ``app.extensions["mail"]``.
    """

    def __init__(self, mail: _Mail) -> None:
        self.mail = mail
        #: A connection of one's own to be used instead, where an override of :meth:`configure_host` opened one.
        self.host: smtplib.SMTP | None = None
        self.num_emails: int = 0
        self.options: SendOptions = SendOptions()
        #: What the last message got.
        self.receipt: Receipt | None = None

    def __enter__(self) -> Self:
        self.num_emails = 0
        if overrides(self, _CONFIGURE_HOST) and self.mail.find_desk().wants_host(self):
            self.host = self.configure_host()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self.host is not None:
            self.host.quit()

    def configure_host(self) -> smtplib.SMTP:
        """A connection by the standard library, as the settings say; for overrides to start from."""
        import smtplib
        import ssl

        mail = self.mail
        kind = smtplib.SMTP_SSL if mail.use_ssl else smtplib.SMTP
        host: smtplib.SMTP = kind(mail.server or "", mail.port or 0)
        host.set_debuglevel(int(mail.debug))
        if mail.use_tls:
            host.starttls(context=ssl.create_default_context())
        if mail.username and mail.password:
            host.login(mail.username, mail.password)
        return host

    def send(self, message: Message, envelope_from: Written | None = None) -> Receipt:
        """Check a message and send it.

        :param envelope_from: where its bounces go; what the message or the settings say otherwise.
        :raises MessageError: the message is wrong; ``field`` names where.
        :raises DeliveryError: with the immediate engine, a recipient did not get it.
        """
        self.receipt = self.mail.find_desk().submit(self, message, envelope_from)
        self.num_emails += 1
        if self.num_emails == self.mail.max_emails:
            self.num_emails = 0
            if self.host is not None:
                self.host.quit()
                self.host = self.configure_host()
        return self.receipt

    def send_message(self, *args: Any, **kwargs: Any) -> Receipt:
        """Make a :class:`Message` of the arguments and send it."""
        return self.send(Message(*args, **kwargs))


# As it is here, whatever is put in its place later.
_CONFIGURE_HOST = Connection.configure_host


def install_as_flask_mail() -> None:
    """Put this package under the name ``flask_mail``, for libraries that import that themselves.

    Call it before they are imported.

    :raises RuntimeError: Flask-Mail is imported already, and with it those who hold its classes.
    """
    ours = import_module(f"{__package__}.flask_mail")
    if sys.modules.setdefault("flask_mail", ours) is not ours:
        raise RuntimeError(
            "Flask-Mail is imported already: call 'flask_outbox.install_as_flask_mail()' before whatever"
            " imports 'flask_mail'."
        )


# -- functions ---------------------------------------------------------------------------------------------------


class FlaskMailUnicodeDecodeError(UnicodeDecodeError):
    """Bytes that are no text; says which object they were."""

    def __init__(self, obj: object, *args: Any) -> None:
        self.obj = obj
        super().__init__(*args)

    def __str__(self) -> str:
        return f"{super().__str__()}. You passed in {self.obj!r} ({type(self.obj)})"


def force_text(s: object, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Text of text, bytes, a lazy string or anything else."""
    if not isinstance(s, bytes):
        return s if isinstance(s, str) else str(s)
    try:
        return s.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise FlaskMailUnicodeDecodeError(s, *error.args) from error


def sanitize_subject(subject: str, encoding: str = "utf-8") -> str:
    """A subject in RFC 2047's form, where it needs that."""
    return subject if subject.isascii() else _encoded(subject, encoding)


def sanitize_address(addr: Written, encoding: str = "utf-8") -> str:
    """An address as it stands in a header: no line ends, the name encoded and the domain in ASCII where needed.

    :raises MessageError: it is no address.
    """
    from email.utils import quote

    if isinstance(addr, Address):
        addr = (addr.name, addr.addr)
    bare = addr if isinstance(addr, tuple) else force_text(addr)
    parsed = parse_address(_on_one_line(bare), "address")
    name = parsed.name
    if not name.isascii():
        return f"{_encoded(name, encoding)} <{parsed.addr}>"
    if not name:
        return parsed.addr
    shown = name if name.replace(" ", "").isalnum() else f'"{quote(name)}"'
    return f"{shown} <{parsed.addr}>"


def sanitize_addresses(addresses: Iterable[Written], encoding: str = "utf-8") -> list[str]:
    """:func:`sanitize_address` of each."""
    return [sanitize_address(addr, encoding) for addr in addresses]


def _on_one_line(addr: str | tuple[str, str]) -> str | tuple[str, str]:
    if isinstance(addr, tuple):
        name, spec = addr
        return "".join(str(name or "").splitlines()), "".join(str(spec).splitlines())
    return "".join(addr.splitlines())


def _encoded(text: str, encoding: str) -> str:
    from email.charset import SHORTEST, Charset
    from email.header import Header

    charset = Charset(encoding)
    if charset.input_charset == "utf-8":
        charset.header_encoding = SHORTEST
    try:
        return Header(text, charset).encode()
    except UnicodeEncodeError:
        return _encoded(text, "utf-8")
