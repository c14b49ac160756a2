"""The face of Flask-Mail 0.10: its names, signatures and habits, on top of ours.

A send goes the way that Flask-Mail's goes, because people override each step of it: ``Mail.send``, ``Mail.connect``,
``Message.send``, ``Connection.send``. Behind the last one stands the application's :class:`Desk`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from flask import Flask

from ._application import application_here
from ._desk_contract import Desk, SendOptions
from ._message import Message, overrides
from .errors import MessageError
from .mail.address import Written
from .signals import email_dispatched

if TYPE_CHECKING:
    import smtplib

    from ._batch import Group
    from ._desk_contract import Pending, SessionChoice
    from .engines.base import Batch, Receipt
    from .ledger.reports import MessageView, Status


def desk_here() -> Desk | None:
    """The desk of the current application."""
    app = application_here()
    here: Desk | None = app.extensions.get("flask_outbox") if app is not None else None
    return here


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
        transport: str | None = None,
        retry_delays: Sequence[float | timedelta] | None = None,
        hold: bool | str = False,
        session: SessionChoice = "auto",
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
        :param transport: what it goes over: ``"default"``, a name of ``MAIL_TRANSPORTS``, or a URL like ``MAIL_URL``;
            the message's own where it is left out. A URL with a password is for the immediate engine: the outbox
            stores none.
        :param retry_delays: seconds before each further try, instead of ``MAIL_RETRY_DELAYS``; the last one repeats,
            and none at all is no second try.
        :param hold: store it, and send it only when :meth:`release` says so; a text is the reason that is shown.
        :param session: the session of SQLAlchemy whose transaction the message is a part of: it is sent if that is
            committed, and is not if it is rolled back. ``"auto"`` is the one of ``Mail(app, db=db)``, if it holds
            changes; None is none.
        :raises MessageError: the message is wrong; ``field`` names where.
        :raises ConfigurationError: the transport is a URL with a password, and the engine stores.
        :raises OutboxError: it could not be stored.
        :raises DeliveryError: with the immediate engine, a recipient did not get it.
        """
        connection = self._hand_over(
            message,
            SendOptions(
                engine,
                delay,
                at,
                expires,
                priority,
                key,
                guarantee,
                transport,
                retry_delays,
                hold,
                session=session,
            ),
        )
        return connection.receipt or self.find_desk().unsent()

    def send_async(
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
        transport: str | None = None,
        retry_delays: Sequence[float | timedelta] | None = None,
        hold: bool | str = False,
        session: SessionChoice = "auto",
    ) -> Coroutine[Any, Any, Receipt]:
        """As :meth:`send`, for coroutines: ``await mail.send_async(message)`` never blocks the event loop.

        The call itself hands the message over. Whoever awaits the answer may be cancelled, and the loop may end: the
        message is stored or sent all the same.
        """
        connection = self._hand_over(
            message,
            SendOptions(
                engine,
                delay,
                at,
                expires,
                priority,
                key,
                guarantee,
                transport,
                retry_delays,
                hold,
                session=session,
            )._replace(wait=False),
        )
        return _answered(self.find_desk(), connection)

    def _hand_over(self, message: Message, options: SendOptions) -> Connection:
        connection = self.connect()
        connection.options = options
        with connection:
            _send_over(connection, message)
        return connection

    def send_many(
        self,
        messages: Iterable[Message],
        *,
        atomic: bool = False,
        engine: str | None = None,
        delay: timedelta | None = None,
        at: datetime | None = None,
        expires: datetime | timedelta | None = None,
        priority: str | None = None,
        key: Callable[[Message], str | None] | None = None,
        guarantee: str = "at_least_once",
        transport: str | None = None,
        retry_delays: Sequence[float | timedelta] | None = None,
        hold: bool | str = False,
        session: SessionChoice = "auto",
    ) -> Batch:
        """Send many messages: of any number, in as much memory as some hundreds of them need.

        The outbox engine commits 500 at a time, and others write between. An exception ends it; what was committed
        before is sent, but for ``atomic``, and is told by a note and, if it is one of ours, by its ``batch``.

        :param messages: read once, as they are needed.
        :param atomic: send all of them, or none: nothing before the last is stored, and nothing at all if the iterable
            raises, a message is wrong or the process dies. For engines that store, and without ``key``.
        :param key: gives each message its key; the other parameters, as of :meth:`send`, are for all of them.
        :raises MessageError: a message is wrong; ``index`` says which one, counted from 0, and ``field`` where.
        """
        if atomic and key is not None:
            raise MessageError(
                "'key' cannot be given with atomic=True, which is not sent as a whole where a key was used before.",
                field="key",
            )
        desk, connection = self.find_desk(), self.connect()
        connection.options = SendOptions(
            engine,
            delay,
            at,
            expires,
            priority,
            None,
            guarantee,
            transport,
            retry_delays,
            hold,
            session=session,
        )
        with desk.gather(connection, atomic=atomic) as group:
            connection.group = group
            with connection:
                return group.fill(connection, messages, key, _send_over)

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

    def messages(
        self,
        *,
        state: str | None = None,
        tag: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[MessageView]:
        """Stored messages, newest first.

        :param state: only those in this state.
        :param tag: only those that have this one among their tags.
        :param before: the id of the last message of the page before.
        """
        reports = self.find_desk().reports()
        return reports.list(state=state, tag=tag, limit=limit, before=before)

    def cancel(self, id: str) -> bool:
        """Take a message out of the queue.

        :returns: whether it is not sent. A message that is being sent, over or unknown stays as it is.
        """
        return self.find_desk().cancel(id)

    def retry(self, id: str) -> bool:
        """Send a message that is held, dead, uncertain or cancelled, as if it were new, to those who did not get it.

        :returns: whether it was one.
        """
        return self.find_desk().retry(id)

    def hold(self, id: str, reason: str = "by hand") -> bool:
        """Keep a message back that is in the queue, until :meth:`release`.

        :returns: whether it is. A message that is being sent, over or unknown stays as it is.
        """
        return self.find_desk().hold(id, reason)

    def release(self, id: str) -> bool:
        """Let a message go that is held: at once, or when it was to be sent, and with the tries that it had.

        :returns: whether it was one.
        """
        return self.find_desk().release(id)

    def status(self) -> Status:
        """Counts, lanes and workers at this moment."""
        return self.find_desk().reports().status(time.time())

    def find_desk(self) -> Desk:
        """One's own desk, or that of the current application.

        :raises RuntimeError: there is none.
        """
        desk = self.desk or desk_here()
        if desk is not None:
            return desk
        if application_here() is not None:
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
        #: What collects the messages, in the place of sending them at once.
        self.group: Group | None = None
        #: What has not yet got its own, where nobody waits here.
        self.pending: list[tuple[Pending, object]] = []

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


def _send_over(connection: Connection, message: Message) -> None:
    # Django's has another "send", which goes its own way.
    if hasattr(message, "alts"):
        message.send(connection)
    else:
        connection.send(message)


async def _answered(desk: Desk, connection: Connection) -> Receipt:
    receipt = connection.receipt or desk.unsent()
    for pending, message in connection.pending:
        receipt = await desk.answer(pending, message)
    return receipt


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
