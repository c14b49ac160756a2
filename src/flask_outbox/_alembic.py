"""What Alembic and Flask-Migrate have to know of our tables: that they are not the application's."""

from __future__ import annotations

from collections.abc import Mapping


def include_name(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
    """Let Alembic pass over the outbox's tables, which ``flask mail init-db`` makes and upgrades.

    Without it ``flask db migrate`` would drop them, for the application's models know nothing of them::

        Migrate(app, db, include_name=flask_outbox.include_name)

    :param name: of something in the database.
    :param type_: what it is, ``"table"`` for a table.
    :param parent_names: what it belongs to.
    :returns: whether Alembic is to look at it.
    """
    from .ledger.tables import metadata

    return type_ != "table" or name not in metadata.tables
