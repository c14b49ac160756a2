"""An application with a database of its own: a shop that knows people."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flask_sqlalchemy
import flask_sqlalchemy_lite
from flask import Flask
from sqlalchemy import ForeignKeyConstraint, Pool, String, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_outbox import Mail, Message, Receipt

#: The extensions that give an application its sessions.
EXTENSIONS = ("flask-sqlalchemy", "flask-sqlalchemy-lite")


class Base(DeclarativeBase):
    """Of the shop's tables."""


class Person(Base):
    """Someone, who may have been brought by someone: that is checked at the commit."""

    __tablename__ = "shop_person"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    brought_by: Mapped[int | None] = mapped_column()
    __table_args__ = (
        ForeignKeyConstraint(
            ["brought_by"], ["shop_person.id"], deferrable=True, initially="DEFERRED"
        ).ddl_if(callable_=lambda *_, dialect, **__: dialect.name not in ("mysql", "mariadb")),
    )


class Shop:
    """The application. Its pool has one connection, and nobody waits for a second one.

    :param url: of its database.
    """

    def __init__(
        self, url: str, folder: Path, extension: str = EXTENSIONS[0], **settings: object
    ) -> None:
        self.app = Flask("shop", instance_path=str(folder))
        self.app.config.update({"MAIL_WORKER": "external", **settings})
        pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 1}
        self.db: Any
        if extension == "flask-sqlalchemy":
            self.app.config.update(SQLALCHEMY_DATABASE_URI=url, SQLALCHEMY_ENGINE_OPTIONS=pool)
            self.db = flask_sqlalchemy.SQLAlchemy(model_class=Base, disable_autonaming=True)
        else:
            self.app.config["SQLALCHEMY_ENGINES"] = {"default": {"url": url, **pool}}
            self.db = flask_sqlalchemy_lite.SQLAlchemy()
        self.db.init_app(self.app)
        self.mail = Mail(self.app, db=self.db)
        with self.app.app_context():
            self.engine = self.db.engine
        if url.startswith("sqlite"):
            event.listen(self.engine, "connect", _check_keys)
        Base.metadata.drop_all(self.engine)
        Base.metadata.create_all(self.engine)

    @property
    def session(self) -> Any:
        return self.db.session

    def send(self, subject: str = "Hello", **options: Any) -> Receipt:
        return self.mail.send(message(subject), **options)

    def stored(self) -> list[str]:
        """The subjects of what is in the outbox, as everybody sees it, in the order of the alphabet."""
        return sorted(view.subject for view in self.mail.messages())

    def close(self) -> None:
        self.app.extensions["flask_outbox"].close()
        Base.metadata.drop_all(self.engine)
        self.engine.dispose()


def message(subject: str = "Hello") -> Message:
    return Message(subject, ["you@example.net"], body="Hi.", sender="shop@example.org")


def said(caplog: Any) -> list[str]:
    """What was logged of mail."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "flask_outbox" and record.levelno >= logging.WARNING
    ]


@contextmanager
def statements(engine: Any) -> Iterator[list[str]]:
    """Those that go over an engine meanwhile."""
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


@contextmanager
def checkouts() -> Iterator[list[object]]:
    """The connections that are taken from any pool meanwhile."""
    seen: list[object] = []

    def note(connection: object, record: object, proxy: object) -> None:
        seen.append(connection)

    event.listen(Pool, "checkout", note)
    try:
        yield seen
    finally:
        event.remove(Pool, "checkout", note)


def _check_keys(connection: Any, record: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
