"""The extension: :class:`Mail` and what it keeps for each application."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from flask import Flask, current_app, has_app_context

from .engines.base import Receipt
from .errors import ConfigurationError, MessageError
from .mail.message import Message
from .signals import email_dispatched

if TYPE_CHECKING:
    from ._config import Wiring
    from .ledger.reports import MessageView, Reports, Status
    from .mail.letter import Terms

PRIORITIES = {"high": 0, "normal": 1, "low": 2}
GUARANTEES = ("at_least_once", "at_most_once")


class Mail:
    """Sends the mail of Flask applications.

    :param app: call :meth:`init_app` on this application.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._wirings: WeakKeyDictionary[Flask, Wiring] = WeakKeyDictionary()
        self._wiring_lock = threading.Lock()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the application's ``MAIL_*`` settings. Starts no thread and opens no file.

        A second call reads the settings again; what is in flight under the old ones ends by itself.

        :raises ConfigurationError: a setting is wrong; the text names the key and the cure.
        """
        from ._config import wire

        wiring = wire(app)
        with self._wiring_lock:
            first = app not in self._wirings
            before, self._wirings[app] = self._wirings.get(app), wiring
        if before is not None:
            before.close()
        app.extensions["mail"] = self
        if first and not app._got_first_request:
            app.before_request(self._on_request)

    # -- sending -----------------------------------------------------------------------------------------------

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
        app = self._app()
        wiring = self._wiring(app)
        now = time.time()
        letter = wiring.seal(message, new_id(now), now)
        wanted = priority or message.priority or "normal"
        terms = _terms(now, delay, at, expires, wanted, key, guarantee)
        chosen = wiring.engines.get(engine or wiring.engine)
        if chosen is None:
            known = ", ".join(sorted(wiring.engines))
            raise ConfigurationError(f"engine={engine!r} is not one of: {known}.")
        email_dispatched.send(app, message=message)
        if suppressed(app):
            return Receipt(letter.id, letter.message_id, "suppressed", durable=False)
        return chosen.submit([(letter, terms)])[0]

    def send_message(self, *args: Any, **kwargs: Any) -> Receipt:
        """Make a :class:`Message` of the arguments and send it."""
        return self.send(Message(*args, **kwargs))

    @contextmanager
    def record_messages(self) -> Iterator[list[Message]]:
        """Collect what is sent meanwhile, at its acceptance, whatever the engine; for tests."""
        outbox: list[Message] = []

        def record(app: Flask, message: Message, **extra: object) -> None:
            outbox.append(message)

        with email_dispatched.connected_to(record):
            yield outbox

    # -- what became of it -------------------------------------------------------------------------------------

    def get(self, id: str) -> MessageView | None:
        """A stored message with its recipients and attempts, or None."""
        return self._reports().get(id)

    def messages(self, *, state: str | None = None, limit: int = 50) -> Sequence[MessageView]:
        """Stored messages, newest first.

        :param state: only those in this state.
        """
        return self._reports().list(state=state, limit=limit)

    def status(self) -> Status:
        """Counts, lanes and workers at this moment."""
        return self._reports().status(time.time())

    # -- per application ---------------------------------------------------------------------------------------

    def _app(self) -> Flask:
        """The application to send for: the current one, or the only one."""
        if has_app_context():
            app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
            return app
        apps = list(self._wirings)
        if len(apps) == 1:
            return apps[0]
        raise RuntimeError(
            "This 'Mail' does not know for which application to send: push an application context,"
            " 'with app.app_context():'."
        )

    def _wiring(self, app: Flask) -> Wiring:
        try:
            return self._wirings[app]
        except KeyError:
            raise RuntimeError(
                "The current Flask app is not registered with this 'Mail' instance. Call 'mail.init_app(app)',"
                " once, with the instance that sends."
            ) from None

    def _reports(self) -> Reports:
        reports = self._wiring(self._app()).reports
        if reports is None:
            raise ConfigurationError(
                "With MAIL_ENGINE='immediate' nothing is stored that could be shown."
            )
        return reports

    def _on_request(self) -> None:
        process = self._wiring(self._app()).process
        if not process.serves:
            process.serves = True
            if not suppressed(self._app()):
                process.ensure_worker()


def suppressed(app: Flask) -> bool:
    """Whether nothing is really sent: ``MAIL_SUPPRESS_SEND``, by default Flask's ``TESTING``; read at each send."""
    value = app.config.get("MAIL_SUPPRESS_SEND")
    if value is None or value == "":
        return app.testing
    from ._config import boolean

    return boolean(value)


def new_id(now: float) -> str:
    """A UUIDv7 (RFC 9562) in hexadecimal: ordered by time, so that new rows stand together."""
    millis = int(now * 1000)
    value = (millis << 80) | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return f"{value:032x}"


def _terms(
    now: float,
    delay: timedelta | None,
    at: datetime | None,
    expires: datetime | timedelta | None,
    priority: str,
    key: str | None,
    guarantee: str,
) -> Terms:
    from .mail.letter import Terms

    if priority not in PRIORITIES:
        raise MessageError(
            f"priority={priority!r} must be one of: high, normal, low.", field="priority"
        )
    if guarantee not in GUARANTEES:
        raise MessageError(
            f"guarantee={guarantee!r} must be at_least_once or at_most_once.", field="guarantee"
        )
    if delay is not None and at is not None:
        raise MessageError("'delay' and 'at' cannot both be given.", field="at")
    return Terms(
        priority=PRIORITIES[priority],
        due=_moment(delay if delay is not None else at, now, "at"),
        expires=_moment(expires, now, "expires"),
        guarantee=guarantee,
        key=key,
    )


def _moment(when: datetime | timedelta | None, now: float, field: str) -> float | None:
    if when is None:
        return None
    if isinstance(when, timedelta):
        return now + when.total_seconds()
    if when.tzinfo is None:
        raise MessageError(
            f"'{field}' needs a time zone: datetime.now(timezone.utc) + …, or a timedelta.",
            field=field,
        )
    return when.timestamp()
