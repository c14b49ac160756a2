"""What stands behind the face of one application: its settings wired, and the way of one send.

Flask-Mail's state can be changed at any time, and people do so: it is compared with what it was at each send.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from weakref import ref

from flask import Flask, Response, has_request_context, request

from ._flask_mail import Connection, SendOptions, _Mail, sanitize_address
from ._message import Message, new_id
from .engines.base import Receipt
from .errors import ConfigurationError, MessageError
from .mail.address import Written, parse_address
from .mail.message import Message as Draft
from .signals import email_dispatched

if TYPE_CHECKING:
    import smtplib

    from ._config import Wiring
    from ._settings import Settings
    from .ledger.reports import Reports
    from .mail.letter import Letter, Terms

PRIORITIES = {"high": 0, "normal": 1, "low": 2}
GUARANTEES = ("at_least_once", "at_most_once")

#: The key of each field of Flask-Mail's state; ``suppress`` is read at each send.
_KEYS = {
    "server": "MAIL_SERVER",
    "username": "MAIL_USERNAME",
    "password": "MAIL_PASSWORD",
    "port": "MAIL_PORT",
    "use_tls": "MAIL_USE_TLS",
    "use_ssl": "MAIL_USE_SSL",
    "default_sender": "MAIL_DEFAULT_SENDER",
    "debug": "MAIL_DEBUG",
    "max_emails": "MAIL_MAX_EMAILS",
    "ascii_attachments": "MAIL_ASCII_ATTACHMENTS",
}
#: Those that MAIL_URL stands for.
_IN_URL = frozenset(
    {"MAIL_SERVER", "MAIL_USERNAME", "MAIL_PASSWORD", "MAIL_PORT", "MAIL_USE_TLS", "MAIL_USE_SSL"}
)


class AppDesk:
    """What one application has: its settings wired, and Flask-Mail's state, whose changes it follows.

    :param plain: the fields of the state that the settings alone make.
    """

    def __init__(self, app: Flask, state: _Mail, plain: Mapping[str, object]) -> None:
        self._app = ref(app)
        self._wiring: Wiring | None = None
        self._debug = app.debug
        self._changing = threading.Lock()
        self._warned = False
        self.settle(app, state, plain)

    @property
    def app(self) -> Flask:
        app = self._app()
        if app is None:
            raise RuntimeError("The application of this mail is gone.")
        return app

    @property
    def state(self) -> _Mail:
        """The application's ``app.extensions["mail"]``."""
        state: object = self.app.extensions.get("mail")
        return state if isinstance(state, _Mail) else self._state

    @state.setter
    def state(self, state: _Mail) -> None:
        self.app.extensions["mail"] = state

    # -- following the settings --------------------------------------------------------------------------------

    def settle(self, app: Flask, state: _Mail, plain: Mapping[str, object]) -> None:
        """Take over the settings of the application, and the state that was made of them."""
        self._state, self._plain = state, dict(plain)
        self.follow(app, state)

    def follow(self, app: Flask, state: _Mail) -> Wiring:
        """Wire what the settings say now, or what the state says that was changed since."""
        from ._config import seal_defaults, wire
        from ._settings import read_settings

        with self._changing:
            seen = dict(vars(state))
            said = {
                key: seen[name] for name, key in _KEYS.items() if seen[name] != self._plain[name]
            }
            if not _IN_URL.isdisjoint(said):
                said["MAIL_URL"] = None
            settings, before = read_settings(ChainMap(said, app.config)), self._wiring
            if before is None or app.debug != self._debug or not _same_road(before, settings):
                wiring = wire(app, settings)
            elif before.settings == settings:
                wiring = before
            else:
                wiring = replace(before, settings=settings, defaults=seal_defaults(settings))
            self._wiring, self._seen, self._debug = wiring, seen, app.debug
        if before is not None and before.process is not wiring.process:
            before.close()
        if state.debug and wiring.engine == "immediate":
            _show_transcript()
        return wiring

    def wired(self, app: Flask, state: _Mail) -> Wiring:
        """The objects that the settings want now."""
        if self._wiring is None or vars(state) != self._seen:
            return self.follow(app, state)
        return self._wiring

    @property
    def wiring(self) -> Wiring:
        """The objects that the settings of the application want now."""
        return self.wired(self.app, self.state)

    def close(self) -> None:
        """End what the application runs in this process."""
        if self._wiring is not None:
            self._wiring.close()

    # -- for the face ------------------------------------------------------------------------------------------

    def submit(self, connection: Connection, message: object, path: Written | None) -> Receipt:
        """Check a message and hand it to its engine, or to the connection's own host."""
        wiring = self.wired(self.app, connection.mail)
        if (connection.options.engine or wiring.engine) == "immediate":
            return self._submit(wiring, connection, message, path)
        here = request._get_current_object() if has_request_context() else None  # type: ignore[attr-defined]
        begun = wiring.process.sends.begin(here)
        try:
            return self._submit(wiring, connection, message, path)
        finally:
            wiring.process.sends.end(begun)

    def _submit(
        self, wiring: Wiring, connection: Connection, message: object, path: Written | None
    ) -> Receipt:
        app, state, options = self.app, connection.mail, connection.options
        engine = wiring.engines.get(options.engine or wiring.engine)
        if engine is None:
            known = ", ".join(sorted(wiring.engines))
            raise ConfigurationError(f"engine={options.engine!r} is not one of: {known}.")
        draft = message if isinstance(message, Draft) else _foreign(message)
        now = time.time()
        letter = _letter(app, wiring, draft, now)
        if path:
            letter = replace(letter, envelope_from=parse_address(path, "envelope_from").addr)
        terms = _terms(now, options, draft.priority)
        if connection.host is not None and not wiring.staged:
            receipt = _by_host(connection.host, draft, letter, path)
        elif self.suppressed(app, state):
            receipt = Receipt(letter.id, letter.message_id, "suppressed", durable=False)
        else:
            receipt = engine.submit([(letter, terms)])[0]
        email_dispatched.send(app, message=message)
        return receipt

    def seal(self, state: _Mail, message: Draft, id: str, now: float) -> Letter:
        """Make a letter of a message, with what the settings say where it says nothing."""
        app = self.app
        return _seal(app, self.wired(app, state), message, id, now)

    def unsent(self) -> Receipt:
        """The receipt for what some override of a step did not hand on."""
        return Receipt("", "", "suppressed", durable=False)

    def wants_host(self, connection: Connection) -> bool:
        """Whether a connection whose ``configure_host`` is overridden is to call it."""
        app, state = self.app, connection.mail
        if self.suppressed(app, state):
            return False
        if (connection.options.engine or self.wired(app, state).engine) == "immediate":
            return True
        if not self._warned:
            self._warned = True
            warnings.warn(
                "'Connection.configure_host' is overridden, and not called, because the worker opens the"
                " connections: say the same with MAIL_TIMEOUT, MAIL_LOCAL_HOSTNAME, MAIL_TLS_CA or another"
                " setting, or set MAIL_ENGINE='immediate', which calls it.",
                stacklevel=4,
            )
        return False

    def reports(self) -> Reports:
        """What became of the messages.

        :raises ConfigurationError: nothing is stored.
        """
        reports = self.wiring.reports
        if reports is None:
            raise ConfigurationError(
                "With MAIL_ENGINE='immediate' nothing is stored that could be shown."
            )
        return reports

    # -- otherwise ---------------------------------------------------------------------------------------------

    def on_request(self) -> None:
        """Start the worker at a process's first request."""
        process = self.wiring.process
        if not process.serves:
            process.serves = True
            if not self.suppressed(self.app, self.state):
                process.ensure_worker()

    def on_response(self, response: Response) -> Response:
        """Let no answer leave before what threads send for it is stored."""
        self.wiring.process.sends.wait(request._get_current_object())  # type: ignore[attr-defined]
        return response

    def suppressed(self, app: Flask, state: _Mail) -> bool:
        """Whether nothing is really sent: what the state was changed to, or the settings at this moment."""
        if state.suppress != self._plain["suppress"]:
            return bool(state.suppress)
        return flag(app.config, "MAIL_SUPPRESS_SEND", app.testing)


def flag(config: Mapping[str, Any], key: str, default: bool) -> bool:
    """A setting that is true or false, also as the environment has it."""
    value = config.get(key)
    if value is None or value == "":
        return default
    if isinstance(value, bool):
        return value
    from ._kinds import boolean

    try:
        return boolean(value)
    except ValueError:
        raise ConfigurationError(f"'{key}' must be true or false.") from None


def _same_road(wiring: Wiring, settings: Settings) -> bool:
    """Whether letters are sent alike, however they are made."""
    before = wiring.settings
    return before == replace(
        settings,
        default_sender=before.default_sender,
        ascii_attachments=before.ascii_attachments,
    )


def _show_transcript() -> None:
    """Let what is said to servers be seen on stderr, as smtplib shows it."""
    from flask.logging import default_handler

    transcript = logging.getLogger("flask_outbox.smtp")
    transcript.setLevel(logging.DEBUG)
    if not transcript.hasHandlers():
        transcript.addHandler(default_handler)


# -- one send --------------------------------------------------------------------------------------------------


def _foreign(message: object) -> Draft:
    from .mail.foreign import from_foreign

    return from_foreign(message)


def _letter(app: Flask, wiring: Wiring, draft: Draft, now: float) -> Letter:
    if not isinstance(draft, Message):
        return _seal(app, wiring, draft, new_id(now), now)
    letter = _seal(app, wiring, draft, draft.next_letter_id() or new_id(now), now)
    draft.note_letter(letter.id, now)
    content = draft.own_content
    return letter if content is None else replace(letter, raw=content)


def _seal(app: Flask, wiring: Wiring, draft: Draft, id: str, now: float) -> Letter:
    if draft.template or draft.locale:
        from ._render import render

        render(app, draft)
    letter = wiring.seal(draft, id, now)
    if letter.text is letter.html is None and (letter.attachments or letter.alternatives):
        # As in Flask-Mail: some readers show what comes first as the text, where there is none, not even an empty one.
        letter = replace(letter, text="")
    return letter


def _by_host(host: smtplib.SMTP, draft: Draft, letter: Letter, path: Written | None) -> Receipt:
    """Send as Flask-Mail does, over a connection that the caller has opened."""
    from .mail.mime import compose

    host.sendmail(
        sanitize_address(path or draft.sender or letter.sender),
        [sanitize_address(to) for to in draft.send_to],
        compose(letter),
        draft.mail_options,
        draft.rcpt_options,
    )
    return Receipt(letter.id, letter.message_id, "sent", durable=False)


def _terms(now: float, options: SendOptions, own_priority: str | None) -> Terms:
    from .mail.letter import Terms

    priority = options.priority or own_priority or "normal"
    if priority not in PRIORITIES:
        raise MessageError(
            f"priority={priority!r} must be one of: high, normal, low.", field="priority"
        )
    if options.guarantee not in GUARANTEES:
        raise MessageError(
            f"guarantee={options.guarantee!r} must be at_least_once or at_most_once.",
            field="guarantee",
        )
    if options.delay is not None and options.at is not None:
        raise MessageError("'delay' and 'at' cannot both be given.", field="at")
    return Terms(
        priority=PRIORITIES[priority],
        due=_moment(options.at if options.delay is None else options.delay, now, "at"),
        expires=_moment(options.expires, now, "expires"),
        guarantee=options.guarantee,
        key=options.key,
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
