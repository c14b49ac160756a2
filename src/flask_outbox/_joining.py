"""Which transaction a send joins, if any.

With ``Mail(app, db=db)``, that of the session of the application context, where it holds changes: they are about to be
committed, or not, and the mail with them. Where it holds none, nobody may ever commit, and nothing is joined.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from flask import Flask, g, got_request_exception, has_app_context, has_request_context, request

from ._application import application_here
from ._kinds import PLAIN_ENGINES
from .errors import ConfigurationError, MessageError
from .ledger.joining import Joining, home
from .ledger.sessions import following, holds_changes, watch

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    from ._desk_contract import SessionChoice, SQLAlchemy
    from .engines.base import Engine, Receipt
    from .mail.letter import Letter, Terms

#: Where an application context has the sessions whose transactions were joined, and whether its request has failed.
_JOINED, _FAILED = "_flask_outbox_joined", "_flask_outbox_failed"


#: Stores a letter with the transaction of a session for coroutines.
Waiting = Callable[["Engine", "Letter", "Terms"], Coroutine[Any, Any, "Receipt"]]


class AppSessions:
    """The sessions that an application has by an extension.

    :raises ConfigurationError: the extension does not know the application yet.
    """

    def __init__(self, app: Flask, db: SQLAlchemy) -> None:
        self._app = ref(app)
        self._db = db
        # The sessions must be left as they are until this extension has seen them at the end of a context.
        if "sqlalchemy" not in app.extensions:
            raise ConfigurationError(
                "'db' is not set up for this app yet: call 'db.init_app(app)' before 'Mail(app, db=db)' or"
                " 'mail.init_app(app, db=db)'."
            )
        with app.app_context():
            self._home = home(self._url())
            # Flask-SQLAlchemy's has a "sessionmaker", too: SQLAlchemy's class.
            maker = getattr(db.session, "session_factory", None) or cast(Any, db).sessionmaker
            watch(maker.class_)
            self._has_async = bool(getattr(db, "async_engines", None))
            if self._has_async:
                _watch_async(db)
        got_request_exception.connect(self._on_failure, app)

    def _url(self) -> Any:
        try:
            return self._db.engine.url
        except KeyError:  # it has none by default, or only for coroutines
            engines = getattr(self._db, "async_engines", {})
            return engines["default"].url if "default" in engines else None

    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What is set where nobody sets it: an application with a server of its own has its outbox there."""
        if self._home is None or config.get("MAIL_OUTBOX_URL") not in (None, ""):
            return {}
        tasks = config.get("MAIL_ENGINE") not in (None, "", *PLAIN_ENGINES)
        if tasks and "MAIL_OUTBOX_URL" in config:
            return {}  # said to be none
        return {"MAIL_OUTBOX_URL": self._home}

    def changed(self) -> Session | None:
        """The session of this context, if it holds changes that may yet be committed."""
        if not self._usable():
            return None
        session: Any = self._db.session
        if (scope := getattr(session, "registry", None)) is not None:
            if not scope.has():
                return None
            session = scope()
        return session if holds_changes(session) else None

    def changed_async(self) -> AsyncSession | None:
        """The same of a session for coroutines."""
        if not (self._has_async and self._usable()):
            return None
        session: AsyncSession = cast(Any, self._db).async_session
        return session if holds_changes(session.sync_session) else None

    def _usable(self) -> bool:
        app = self._app()
        return app is not None and application_here() is app and _FAILED not in g

    def _on_failure(self, app: Flask, **given: object) -> None:
        """A request has failed: what its session holds is never committed, and what is sent now is about that."""
        setattr(g, _FAILED, True)


def _watch_async(db: Any) -> None:
    from sqlalchemy.orm import Session

    maker = db.async_sessionmaker
    own = maker.kw.get("sync_session_class") or getattr(maker.class_, "sync_session_class", Session)
    if own is Session:
        # That of all sessions there are: a class of these alone is watched.
        own = type("Session", (Session,), {})
        maker.configure(sync_session_class=own)
    watch(own)


def joining_of(
    sessions: AppSessions | None, session: SessionChoice, *, stores: bool
) -> Joining | None:
    """How a send joins a transaction, if it does.

    :param stores: whether the engine stores.
    :raises MessageError: what was given is no session, or one for coroutines.
    """
    if session == "auto":
        changed = sessions.changed() if sessions is not None and stores else None
        return None if changed is None else _joining(changed)
    found = _behind(session)
    if hasattr(found, "sync_session"):
        raise MessageError(
            "'session' is an AsyncSession: await mail.send_async(…, session=…), or call send within its run_sync.",
            field="session",
        )
    return _joining(found)


def waiting_of(
    sessions: AppSessions | None, session: SessionChoice, *, stores: bool
) -> Waiting | None:
    """The same for a session that has to be awaited; None where there is none."""
    if session == "auto":
        changed = sessions.changed_async() if sessions is not None and stores else None
        return None if changed is None else _waiting(changed)
    found = _behind(session)
    return _waiting(found) if hasattr(found, "sync_session") else None


def _waiting(session: AsyncSession) -> Waiting:
    joining = _joining(session.sync_session)

    async def wait(engine: Engine, letter: Letter, terms: Terms) -> Receipt:
        (receipt,) = await session.run_sync(lambda _: engine.join([(letter, terms)], joining))
        return receipt

    return wait


def _behind(session: object) -> Any:
    scope = getattr(session, "registry", None)
    found = session if scope is None else scope()
    if not hasattr(found, "sync_session") and not hasattr(found, "get_nested_transaction"):
        raise MessageError(
            "'session' must be a session of SQLAlchemy, or None to join no transaction.",
            field="session",
        )
    return found


def _joining(session: Session) -> Joining:
    """Join a session's transaction, in the name of the view at hand."""
    if has_app_context():
        joined = g.setdefault(_JOINED, [])
        if session not in joined:
            joined.append(session)
    by = "the code that sent it"
    if has_request_context():
        by = (
            f"the view {request.endpoint!r}"
            if request.endpoint
            else f"the request of {request.path}"
        )
    return Joining(session, by)


def leave(error: BaseException | None) -> None:
    """At the end of a context that has not failed: what was joined is sent, unless it is rolled back after all."""
    for session in g.pop(_JOINED, ()) if error is None else ():
        if session.is_active and session.in_transaction():
            following(session).leave()
