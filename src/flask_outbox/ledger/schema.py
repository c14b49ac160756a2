"""How the tables come to be: in their newest version at once, or brought there step by step.

PostgreSQL and SQLite do all of it or nothing. MySQL and MariaDB commit after each statement, so that one which was
cut off is done again, and passes over what stands already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import (
    Column,
    Computed,
    Connection,
    Dialect,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.elements import ClauseElement

from ..errors import SchemaError
from . import tables
from .driver import MYSQL

#: What was sent stays in PostgreSQL's indexes until that vacuums, and every look passes over it. By itself it waits
#: until a fifth of the table has changed, which is the longer the more mail is kept, and may then spare the indexes.
_VACUUM = (
    "ALTER TABLE mail_delivery SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01,"
    " vacuum_index_cleanup = on)"
)

#: What leads from a version to the next, as a dialect has it.
STEPS: dict[int, Callable[[Dialect], Sequence[str]]] = {
    1: lambda dialect: [
        "ALTER TABLE mail_worker ADD COLUMN role VARCHAR(16) DEFAULT '' NOT NULL",
        *_settings(dialect),
    ],
}

#: How a server lets only one at its tables; it ends with the connection, or the transaction.
_ALONE = {
    "postgresql": "SELECT pg_advisory_xact_lock(7165065427)",
    "mysql": "SELECT GET_LOCK('flask_outbox', 60)",
}

#: MySQL's codes for what stands already: a table, a column, an index.
_STANDS = {1050, 1060, 1061}


def script(dialect: Dialect, version: int | None) -> list[str]:
    """The statements that lead from a version, or from nothing, to this one.

    :raises SchemaError: it is a newer one.
    """
    if version is None:
        return [
            *_creation(dialect),
            _text(insert(tables.schema).values(version=tables.VERSION), dialect),
        ]
    if version > tables.VERSION:
        check_version(version)
    statements: list[str] = []
    for before in range(version, tables.VERSION):
        reached = update(tables.schema).values(version=before + 1)
        statements += [*STEPS[before](dialect), _text(reached, dialect)]
    return statements


def bring_up(connection: Connection) -> int | None:
    """Make the tables, or bring them to this version.

    :returns: of which they were, or None where they were missing.
    """
    if alone := _ALONE.get(connection.dialect.name):
        connection.exec_driver_sql(alone)
    version = version_of(connection)
    for statement in script(connection.dialect, version):
        try:
            connection.exec_driver_sql(statement)
        except DBAPIError as error:
            stands = connection.dialect.name in MYSQL and error.orig and error.orig.args[0]
            if stands not in _STANDS:
                raise
    return version


def version_of(connection: Connection) -> int | None:
    """The version of the tables, or None where they are missing."""
    if not inspect(connection).has_table(tables.schema.name):
        return None
    return connection.execute(select(tables.schema.c.version)).scalar()


def check_version(version: int | None) -> None:
    """:raises SchemaError: the tables are missing, or of another version."""
    if version is None:
        raise SchemaError("The outbox's tables are missing: run 'flask mail init-db'.")
    needed = f"version {version}, this Flask-Outbox needs {tables.VERSION}"
    if version < tables.VERSION:
        raise SchemaError(f"The outbox's tables are of {needed}: run 'flask mail init-db'.")
    if version > tables.VERSION:
        raise SchemaError(
            f"The outbox's tables are of {needed}: run the version of Flask-Outbox that made them, or a newer one."
        )


def _creation(dialect: Dialect) -> Iterator[str]:
    for table in _metadata_of(dialect).sorted_tables:
        yield _text(CreateTable(table), dialect)
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield _text(CreateIndex(index), dialect)
    yield from _settings(dialect)


def _settings(dialect: Dialect) -> Sequence[str]:
    """What is set about tables."""
    return [_VACUUM] if dialect.name == "postgresql" else []


def _text(statement: ClauseElement, dialect: Dialect) -> str:
    compiled = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    lines = str(compiled).strip().splitlines()
    return "\n".join(line.rstrip().replace("\t", "    ") for line in lines if line.strip())


def _metadata_of(dialect: Dialect) -> MetaData:
    if dialect.name in MYSQL:
        return _of_mysql(dialect.name)
    if dialect.name != "sqlite":
        tables.prepare_for(dialect.name)
    return tables.metadata


def _of_mysql(name: str) -> MetaData:
    """A copy whose texts compare exactly and may be long, and whose live index is led by a column for that."""
    from sqlalchemy.dialects import mysql

    metadata = MetaData(naming_convention=tables.metadata.naming_convention)
    options = {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}
    for table in tables.metadata.sorted_tables:
        copy = table.to_metadata(metadata)
        copy.kwargs.update({f"{name}_{option}": value for option, value in options.items()})
        for column in copy.columns:
            if type(column.type) is Text:
                column.type = mysql.MEDIUMTEXT()
            elif type(column.type) is LargeBinary:
                column.type = mysql.LONGBLOB()
    delivery = metadata.tables[tables.delivery.name]
    is_live = Computed(f"CASE WHEN {tables.live()} THEN 1 END", persisted=True)
    delivery.append_column(Column("live", SmallInteger, is_live), replace_existing=True)
    (plain,) = (index for index in delivery.indexes if index.name == tables.LIVE_INDEX)
    delivery.indexes.remove(plain)
    Index(tables.LIVE_INDEX, delivery.c.live, *plain.columns)
    return metadata
