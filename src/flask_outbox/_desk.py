"""What stands behind the face of one application: its settings wired, and the way of one send.

Flask-Mail's state can be changed at any time, and people do so: it is compared with what it was at each send.
"""

from __future__ import annotations

import time
import warnings
from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from weakref import ref

from flask import Flask, Response

from ._application import request_here
from ._flask_mail import Connection, _Mail
from ._locks import Lock
from ._sealing import foreign, letter_of, seal, send_by_host
from ._state import IN_URL, KEYS, flag, same_road, show_transcript
from ._terms import retry_delays_of, terms_of
from .engines.base import Receipt
from .errors import ConfigurationError
from .mail.address import Written, parse_address
from .mail.message import Message as Draft
from .signals import email_dispatched

if TYPE_CHECKING:
    from ._batch import Group
    from ._desk_contract import Pending, SendOptions, SQLAlchemy
    from ._joining import AppSessions, Waiting
    from ._wiring import Wiring
    from .engines.base import Engine
    from .ledger.joining import Joining
    from .ledger.reports import Reports
    from .ledger.store import Store
    from .mail.letter import Letter, Terms


class AppDesk:
    """What one application has: its settings wired, and Flask-Mail's state, whose changes it follows.

    :param plain: the fields of the state that the settings alone make.
    :param db: the extension whose sessions may be joined.
    """

    def __init__(
        self,
        app: Flask,
        state: _Mail,
        plain: Mapping[str, object],
        db: SQLAlchemy | None = None,
    ) -> None:
        self._app = ref(app)
        self._wiring: Wiring | None = None
        self._closed: Wiring | None = None
        self._changing = Lock()
        self._warned = False
        self._sessions: AppSessions | None = None
        self._joins = False
        self.settle(app, state, plain, db)

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

    def settle(
        self,
        app: Flask,
        state: _Mail,
        plain: Mapping[str, object],
        db: SQLAlchemy | None = None,
    ) -> None:
        """Take over the settings of the application, and the state that was made of them."""
        self._state, self._plain = state, dict(plain)
        if db is not None:
            from ._joining import AppSessions

            self._sessions = AppSessions(app, db)
        self.follow(app, state)

    def follow(self, app: Flask, state: _Mail) -> Wiring:
        """Wire what the settings say now, or what the state says that was changed since."""
        from ._config import wire
        from ._settings import read_settings
        from ._wiring import seal_defaults

        with self._changing:
            seen = dict(vars(state))
            said = {
                key: seen[name] for name, key in KEYS.items() if seen[name] != self._plain[name]
            }
            if not IN_URL.isdisjoint(said):
                said["MAIL_URL"] = None
            if self._sessions is not None:
                said |= self._sessions.settings(app.config)
            settings, before = read_settings(ChainMap(said, app.config)), self._wiring
            if before is None or not same_road(before, settings):
                wiring = wire(app, settings)
            elif before.settings == settings:
                wiring = before
            else:
                wiring = replace(before, settings=settings, defaults=seal_defaults(settings))
            self._wiring, self._seen = wiring, seen
        if before is not None and before.process is not wiring.process:
            before.close()
        if state.debug and wiring.engine == "immediate":
            show_transcript()
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
            # By its task queue a task that comes later still finds the application.
            self._closed = wiring
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
                joining=self._joining(wiring, connection.options),
            )
        finally:
            wiring.process.sends.end(begun)

    async def answer(self, pending: Pending, message: object) -> Receipt:
        """Wait until a message was taken."""
        import asyncio

        receipt = await (pending() if callable(pending) else asyncio.wrap_future(pending))
        email_dispatched.send(self.app, message=message)
        return receipt

    def _submit(
        self, wiring: Wiring, connection: Connection, message: object, path: Written | None
    ) -> Receipt:
        app, state = self.app, connection.mail
        engine, draft, letter, terms = self._sealed(wiring, connection, message, path)
        asked = connection.options.transport or draft.transport
        if connection.host is not None and not (asked or wiring.staged):
            receipt = send_by_host(connection.host, draft, letter, path)
        elif self.suppressed(app, state):
            receipt = Receipt(letter.id, letter.message_id, "suppressed", durable=False)
        elif connection.group is not None:
            return connection.group.take(engine, message, letter, terms)
        else:
            joining, batch = self._joining(wiring, connection.options), [(letter, terms)]
            receipt = (engine.join(batch, joining) if joining else engine.submit(batch))[0]
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
        waiting = self._waiting(wiring, connection.options)
        if waiting is None and self._joining(wiring, connection.options) is not None:
            return self._submit(wiring, connection, message, path)
        engine, _, letter, terms = self._sealed(wiring, connection, message, path)
        if self.suppressed(app, connection.mail):
            email_dispatched.send(app, message=message)
            return Receipt(letter.id, letter.message_id, "suppressed", durable=False)
        if waiting is not None:
            connection.pending.append((partial(waiting, engine, letter, terms), message))
            return Receipt(letter.id, letter.message_id, "queued", durable=False)
        taking = engine.begin([(letter, terms)])
        if (connection.options.engine or wiring.engine) != "immediate":
            begun = wiring.process.sends.begin(request_here(), elsewhere=True)
            taking.add_done_callback(lambda _: wiring.process.sends.end(begun))
        connection.pending.append((following(taking, lambda receipts: receipts[0]), message))
        return Receipt(letter.id, letter.message_id, "queued", durable=False)

    def _joining(self, wiring: Wiring, options: SendOptions) -> Joining | None:
        """What a send joins, if anything."""
        if options.session is None or (self._sessions is None and options.session == "auto"):
            return None
        from ._joining import joining_of

        self._joins = True
        stores = wiring.stores(options.engine or wiring.engine)
        return joining_of(self._sessions, options.session, stores=stores)

    def _waiting(self, wiring: Wiring, options: SendOptions) -> Waiting | None:
        """What joins a session for coroutines, if a send is to join one."""
        if options.session is None or (self._sessions is None and options.session == "auto"):
            return None
        from ._joining import waiting_of

        self._joins = True
        stores = wiring.stores(options.engine or wiring.engine)
        return waiting_of(self._sessions, options.session, stores=stores)

    def _sealed(
        self, wiring: Wiring, connection: Connection, message: object, path: Written | None
    ) -> tuple[Engine, Draft, Letter, Terms]:
        app, options = self.app, connection.options
        engine = wiring.engines.get(options.engine or wiring.engine)
        if engine is None:
            known = ", ".join(sorted(wiring.engines))
            raise ConfigurationError(f"engine={options.engine!r} is not one of: {known}.")
        draft = message if isinstance(message, Draft) else foreign(message)
        now = time.time()
        asked = options.transport or draft.transport
        letter = letter_of(app, wiring, draft, now, asked or "")
        if path:
            letter = replace(letter, envelope_from=parse_address(path, "envelope_from").addr)
        if options.retry_delays is not None:
            letter = replace(letter, retry_delays=retry_delays_of(options.retry_delays))
        terms = terms_of(now, options, draft.priority)
        if asked:
            name, url = wiring.transport(asked, options.engine or wiring.engine)
            terms = replace(terms, transport=name, url=url)
        return engine, draft, letter, terms

    def seal(self, state: _Mail, message: Draft, id: str, now: float) -> Letter:
        """Make a letter of a message, with what the settings say where it says nothing."""
        app = self.app
        return seal(app, self.wired(app, state), message, id, now, message.transport or "")

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
        return self._going(id, self._store().retry(id, time.time()))

    def hold(self, id: str, reason: str) -> bool:
        """Keep a message back, if it is in the queue."""
        return self._store().hold(id, reason)

    def release(self, id: str) -> bool:
        """Let a message go that is kept back."""
        return self._going(id, self._store().release_held(id))

    def _going(self, id: str, again: bool) -> bool:
        """Whether a message is in the queue again, of which whoever sends is told then."""
        if again and self.wiring.go is not None:
            self.wiring.go([id])
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

    def on_end(self, error: BaseException | None) -> None:
        """Let what was joined be sent, if it is left without a commit."""
        if self._joins:
            from ._joining import leave

            leave(error)

    @property
    def sending(self) -> bool:
        """Whether any answer may have to wait."""
        return (wiring := self._wiring) is not None and wiring.process.sends.under_way

    def suppressed(self, app: Flask, state: _Mail) -> bool:
        """Whether nothing is really sent: what the state was changed to, or the settings at this moment."""
        if state.suppress != self._plain["suppress"]:
            return bool(state.suppress)
        return flag(app.config, "MAIL_SUPPRESS_SEND", app.testing)
