"""The extension: :class:`Mail`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from weakref import ReferenceType, WeakSet, ref

from flask import Flask
from flask.sansio.app import App

from ._application import attend
from ._desk import AppDesk
from ._desk_contract import Desk, SQLAlchemy
from ._flask_mail import _Mail, _MailMixin, desk_here
from ._locks import Lock
from ._state import flag

_lock = Lock()


class Mail(_MailMixin):
    """Sends the mail of Flask applications: of the one it was made for, or else of the current one.

    What Flask and Quart have in common is all that is asked of an application.

    :param app: call :meth:`init_app` on this application.
    :param db: Flask-SQLAlchemy's or Flask-SQLAlchemy-Lite's extension: what is sent while its session holds changes is
        sent if they are committed. Where its database is a server that can hold the outbox, and ``MAIL_OUTBOX_URL``
        names none, the outbox is there.
    """

    _own: ReferenceType[Flask] | None = None
    _db: SQLAlchemy | None = None

    def __init__(self, app: App | None = None, *, db: SQLAlchemy | None = None) -> None:
        self._apps: WeakSet[Flask] = WeakSet()
        self._db = db
        if app is not None:
            self.init_app(app)
            self.app = _behind(app)

    def init_app(self, app: App, *, db: SQLAlchemy | None = None) -> _Mail:
        """Read the application's ``MAIL_*`` settings. Starts no thread and opens no file.

        A second call, of this or another instance, reads the settings again. Where they are the same, nothing else
        happens; where not, what is in flight under the old ones is waited for.

        :param db: as of the class, for this application; ``db.init_app(app)`` comes before.
        :returns: ``app.extensions["mail"]``.
        :raises ConfigurationError: a setting is wrong; the text names the key and the cure.
        """
        app = _behind(app)
        state = self.init_mail(app.config, app.debug, app.testing)
        plain = Mail.init_mail(self, app.config, app.debug, app.testing)
        with _lock:
            desk: AppDesk | None = app.extensions.get("flask_outbox")
            if desk is None:
                desk = AppDesk(app, state, vars(plain), db or self._db)
                app.extensions["flask_outbox"] = desk
                if not app._got_first_request:
                    attend(app, desk)
            else:
                desk.settle(app, state, vars(plain), db or self._db)
        state.desk = desk
        app.extensions["mail"] = state
        self._apps.add(app)
        return state

    def init_mail(
        self, config: Mapping[str, Any], debug: bool | int = False, testing: bool = False
    ) -> _Mail:
        """Flask-Mail's settings of a configuration. What a subclass changes here takes the place of what is set."""
        return _Mail(
            config.get("MAIL_SERVER", "127.0.0.1"),
            config.get("MAIL_USERNAME"),
            config.get("MAIL_PASSWORD"),
            config.get("MAIL_PORT", 25),
            flag(config, "MAIL_USE_TLS", False),
            flag(config, "MAIL_USE_SSL", False),
            config.get("MAIL_DEFAULT_SENDER"),
            int(flag(config, "MAIL_DEBUG", bool(debug))),
            config.get("MAIL_MAX_EMAILS"),
            flag(config, "MAIL_SUPPRESS_SEND", testing),
            flag(config, "MAIL_ASCII_ATTACHMENTS", False),
        )

    @property
    def app(self) -> Flask | None:
        """The application that this instance was made for, or the only one that it was given later."""
        if self._own is not None:
            return self._own()
        apps = list(self._apps)
        return apps[0] if len(apps) == 1 else None

    @app.setter
    def app(self, app: Flask | None) -> None:
        self._own = None if app is None else ref(_behind(app))

    @property
    def desk(self) -> Desk | None:  # type: ignore[override]  # read only, where a state has its own
        """The desk of its own application, of the current one, or of the only one."""
        here = desk_here() if self._own is None else None
        app = None if here else self.app
        return here if app is None else app.extensions.get("flask_outbox")

    @property
    def state(self) -> _Mail | None:
        """The current application's ``app.extensions["mail"]``, or that of the only one."""
        try:
            return self.find_desk().state
        except RuntimeError:
            return None

    @state.setter
    def state(self, state: _Mail) -> None:
        state.desk = self.find_desk()
        state.desk.state = state

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.state, name, None)


def _behind(app: App) -> Flask:
    """The application itself, where ``current_app`` was given."""
    # Quart's as well: what it does otherwise than Flask's, _application knows.
    return cast(Flask, getattr(app, "_get_current_object", lambda: app)())
