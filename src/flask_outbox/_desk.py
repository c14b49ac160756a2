"""What stands behind the face of one application: its settings wired, and the way of one send.

Flask-Mail's state can be changed at any time, and people do so: it is compared with what it was at each send.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import ref

from flask import Flask, Response

from ._application import request_here
from ._flask_mail import Connection, _Mail
from ._locks import Lock
from ._message import Message, new_id
from ._sanitize import sanitize_address
from ._terms import terms_of
from .engines.base import Receipt
from .errors import ConfigurationError
from .mail.address import Written, parse_address
from .mail.message import Message as Draft
from .signals import email_dispatched

if TYPE_CHECKING:
    import smtplib
    from concurrent.futures import Future

    from ._batch import Group
    from ._config import Wiring
    from ._settings import Settings
    from .engines.base import Engine
    from .ledger.reports import Reports
    from .ledger.store import Store
    from .mail.letter import Letter, Terms

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
        self._changing = Lock()
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
            if before is None or not _same_road(before, settings):
                wiring = wire(app, settings)
            elif before.settings == settings:
                wiring = before
            else:
                wiring = replace(before, settings=settings, defaults=seal_defaults(settings))
            self._wiring, self._seen = wiring, seen
        if before is not None and before.process is not wiring.process:
            before.close()
        if state.debug and wiring.engine == "immediate":
            _show_transcript()
        return wiring

    def wired(self, app: Flask, state: _Mail) -> Wiring:
        """The objects that the settings want now."""
        if (wiring := self._wiring) is None or vars(state) != self._seen:
            return self.follow(app, state)
        return wiring

    @property
    def wiring(self) -> Wiring:
        """The objects that the settings of the application want now."""
        return self.wired(self.app, self.state)

    def close(self) -> None:
        """End what the application runs in this process; whatever comes later starts anew."""
        wiring, self._wiring = self._wiring, None
        if wiring is not None:
            wiring.close()

    # -- for the face ------------------------------------------------------------------------------------------

    def submit(self, connection: Connection, message: object, path: Written | None) -> Receipt:
        """Check a message and hand it to its engine, or to the connection's own host."""
        wiring = self.wired(self.app, connection.mail)
        if connection.group is not None:
            return self._submit(wiring, connection, message, path)
        if not connection.options.wait:
            return self._begin(wiring, connection, message, path)
        if (connection.options.engine or wiring.engine) == "immediate":
            return self._submit(wiring, connection, message, path)
        begun = wiring.process.sends.begin(request_here())
        try:
            return self._submit(wiring, connection, message, path)
        finally:
            wiring.process.sends.end(begun)

    @contextmanager
    def gather(self, connection: Connection, *, atomic: bool) -> Iterator[Group]:
        """Let a connection collect what is sent over it."""
        from ._batch import Group

        app = self.app
        wiring = self.wired(app, connection.mail)
        begun = wiring.process.sends.begin(request_here())
        try:
            yield Group(
                lambda message: email_dispatched.send(app, message=message),
                wiring.reports.of_batch if wiring.reports else lambda _: iter(()),
                atomic=atomic,
            )
        finally:
            wiring.process.sends.end(begun)

    async def answer(self, pending: Future[Receipt], message: object) -> Receipt:
        """Wait until a message was taken."""
        import asyncio

        receipt = await asyncio.wrap_future(pending)
        email_dispatched.send(self.app, message=message)
        return receipt

    def _submit(
        self, wiring: Wiring, connection: Connection, message: object, path: Written | None
    ) -> Receipt:
        app, state = self.app, connection.mail
        engine, draft, letter, terms = self._sealed(wiring, connection, message, path)
        asked = connection.options.transport or draft.transport
        if connection.host is not None and not (asked or wiring.staged):
            receipt = _by_host(connection.host, draft, letter, path)
        elif self.suppressed(app, state):
            receipt = Receipt(letter.id, letter.message_id, "suppressed", durable=False)
        elif connection.group is not None:
            return connection.group.take(engine, message, letter, terms)
        else:
            receipt = engine.submit([(letter, terms)])[0]
        if connection.group is not None:
            connection.group.count += 1
        email_dispatched.send(app, message=message)
        return receipt

    def _begin(
        self, wiring: Wiring, connection: Connection, message: object, path: Written | None
    ) -> Receipt:
        """Hand a message over without waiting; the connection has what can be awaited."""
        from .delivery.loop import following

        app = self.app
        engine, _, letter, terms = self._sealed(wiring, connection, message, path)
        if self.suppressed(app, connection.mail):
            email_dispatched.send(app, message=message)
            return Receipt(letter.id, letter.message_id, "suppressed", durable=False)
        taking = engine.begin([(letter, terms)])
        if (connection.options.engine or wiring.engine) != "immediate":
            begun = wiring.process.sends.begin(request_here(), elsewhere=True)
            taking.add_done_callback(lambda _: wiring.process.sends.end(begun))
        connection.pending.append((following(taking, lambda receipts: receipts[0]), message))
        return Receipt(letter.id, letter.message_id, "queued", durable=False)

    def _sealed(
        self, wiring: Wiring, connection: Connection, message: object, path: Written | None
    ) -> tuple[Engine, Draft, Letter, Terms]:
        app, options = self.app, connection.options
        engine = wiring.engines.get(options.engine or wiring.engine)
        if engine is None:
            known = ", ".join(sorted(wiring.engines))
            raise ConfigurationError(f"engine={options.engine!r} is not one of: {known}.")
        draft = message if isinstance(message, Draft) else _foreign(message)
        now = time.time()
        letter = _letter(app, wiring, draft, now)
        if path:
            letter = replace(letter, envelope_from=parse_address(path, "envelope_from").addr)
        terms = terms_of(now, options, draft.priority)
        if asked := options.transport or draft.transport:
            name, url = wiring.transport(asked, options.engine or wiring.engine)
            terms = replace(terms, transport=name, url=url)
        return engine, draft, letter, terms

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
        engine = connection.options.engine or self.wired(app, state).engine
        if engine == "immediate" and connection.options.wait:
            return True
        if not self._warned:
            self._warned = True
            warnings.warn(
                "'Connection.configure_host' is overridden, and not called, because the worker opens the"
                " connections: say the same with MAIL_TIMEOUT, MAIL_LOCAL_HOSTNAME, MAIL_TLS_CA or another"
                " setting, or set MAIL_ENGINE='immediate', with which 'send' calls it.",
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
                f"With MAIL_ENGINE={self.wiring.engine!r} nothing is stored that could be shown."
            )
        return reports

    def cancel(self, id: str) -> bool:
        """Take a message out of the queue, if it is there."""
        return self._store().cancel(id, time.time())

    def retry(self, id: str) -> bool:
        """Put a message back into the queue, if it has ended or waits for a person."""
        again = self._store().retry(id, time.time())
        if again:
            self.wiring.process.ensure_worker()
        return again

    def _store(self) -> Store:
        store = self.wiring.store
        if store is None:
            raise ConfigurationError(
                f"With MAIL_ENGINE={self.wiring.engine!r} nothing is stored that could be changed."
            )
        return store

    # -- otherwise ---------------------------------------------------------------------------------------------

    def on_request(self) -> None:
        """Start the worker at a process's first request."""
        # Not what the state wants by now: that may be wrong, which only a send is told.
        if (wiring := self._wiring) is not None and not wiring.process.serves:
            wiring.process.serves = True
            if not self.suppressed(self.app, self.state):
                wiring.process.ensure_worker()

    def on_response(self, response: Response) -> Response:
        """Let no answer leave before what threads send for it is stored."""
        if (wiring := self._wiring) is not None:
            wiring.process.sends.wait(request_here())
        return response

    @property
    def sending(self) -> bool:
        """Whether any answer may have to wait."""
        return (wiring := self._wiring) is not None and wiring.process.sends.under_way

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
