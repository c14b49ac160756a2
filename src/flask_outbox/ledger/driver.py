"""SQL as a driver takes it: built in SQLAlchemy Core, compiled once a dialect.

What one dialect says otherwise than another stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, cast

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnCollection,
    ColumnElement,
    Dialect,
    FromClause,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
    bindparam,
    case,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.elements import BindParameter, ClauseElement
from sqlalchemy.types import TypeEngine

from .tables import literal

if TYPE_CHECKING:
    from sqlalchemy.dialects import mysql

Types: TypeAlias = Mapping[str, type[TypeEngine[Any]]]

#: The names that SQLAlchemy has for one dialect.
MYSQL = ("mysql", "mariadb")

_EXACT = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"

#: What a JSON document's values become; one that does not fit would be lost, so each is larger than any column.
_MYSQL_TYPES: Mapping[type[TypeEngine[Any]], str] = {
    BigInteger: "BIGINT",
    Integer: "INT",
    SmallInteger: "SMALLINT",
    String: f"VARCHAR(1000) {_EXACT}",
    Text: f"LONGTEXT {_EXACT}",
}


class Result(Protocol):
    """What a statement gives: a SQLAlchemy result, or a cursor."""

    @property
    def rowcount(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


class Line(Protocol):
    """What a statement is run on: a SQLAlchemy connection, or :class:`Direct`."""

    @property
    def dialect(self) -> Dialect: ...

    def exec_driver_sql(self, statement: str, parameters: Any) -> Any: ...


class Direct:
    """As much of a SQLAlchemy connection as sends and workers need, at a seventh of its price a statement."""

    def __init__(self, connection: PoolProxiedConnection, dialect: Dialect) -> None:
        self._connection = connection
        self.dialect = dialect
        # As text, what PostgreSQL gives of an attachment is twice as long, and the driver has it more than once.
        self._form = {"binary": True} if dialect.driver == "psycopg" else {}

    def exec_driver_sql(self, statement: str, parameters: Any = ()) -> DBAPICursor:
        """Run it, for each if the parameters are a list."""
        cursor = self._connection.cursor(**self._form)
        if isinstance(parameters, list):
            cursor.executemany(statement, parameters)
        else:
            cursor.execute(statement, parameters)
        return cursor


class _Rows:
    """What a query gave."""

    def __init__(self, rowcount: int, rows: Iterator[Any]) -> None:
        self.rowcount = rowcount
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return self._rows


class Statement:
    """SQL as a driver takes it; what stays open in it has a name."""

    def __init__(self, built: ClauseElement, dialect: Dialect) -> None:
        compiled = cast(SQLCompiler, built.compile(dialect=dialect))
        self.text = str(compiled)
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}
        self._order: Iterable[str] | None = compiled.positiontup if compiled.positional else None
        self._make: Callable[[Iterable[Any]], Any] | None = None

    def __call__(self, line: Line, **values: object) -> Result:
        """Run it; the rows have their columns as attributes."""
        found = line.exec_driver_sql(self.text, self._bound(values))
        if isinstance(line, Direct) and found.description is not None:
            return _Rows(found.rowcount, map(self._row(found), found.fetchall()))
        result: Result = found
        return result

    def _row(self, cursor: DBAPICursor) -> Callable[[Iterable[Any]], Any]:
        if self._make is None:
            columns = [(column[0], Any) for column in cursor.description]
            self._make = NamedTuple("Row", columns)._make
        return self._make

    def many(self, line: Line, rows: Iterable[Mapping[str, object]]) -> None:
        """Run it for each row, in one call of the driver."""
        bound = [self._bound(row) for row in rows]
        if bound:
            line.exec_driver_sql(self.text, bound if len(bound) > 1 else bound[0])

    def _bound(self, values: Mapping[str, object]) -> Any:
        if self._fixed:
            values = {**self._fixed, **values}
        return values if self._order is None else tuple([values[name] for name in self._order])


def compiled(build: Callable[[Any], ClauseElement]) -> cached_property[Statement]:
    """Compile what the method builds, once."""
    return cached_property(lambda self: Statement(build(self), self.dialect))


class Compiled:
    """Statements of one dialect, each compiled when it is first used."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    @property
    def mysql(self) -> bool:
        """Whether it is MySQL's or MariaDB's."""
        return self.dialect.name in MYSQL

    @property
    def at_once(self) -> bool:
        """Whether this dialect does by one statement what takes several elsewhere."""
        return self.dialect.name == "postgresql"

    def given(self, types: Types, rows: str = "rows") -> FromClause:
        """The rows of a JSON document as a table."""
        document, name = bindparam(rows, type_=String), "given" if rows == "rows" else rows
        if self.dialect.name == "postgresql":
            # Each costs megabytes and milliseconds: a dialect is loaded by those who use it.
            from sqlalchemy.dialects import postgresql

            columns = [column(name, kind) for name, kind in types.items()]
            asked = document.cast(postgresql.JSONB)
            recordset = func.jsonb_to_recordset(asked).table_valued(*columns)
            if rows != "rows":
                return recordset.render_derived(name, with_types=True)
            # It takes any document for a hundred rows, and reads a whole table where it should seek twenty.
            few = select(func.jsonb_array_length(asked)).scalar_subquery()
            derived = recordset.render_derived(with_types=True)
            return select(*derived.c).limit(few).subquery(name)
        if self.mysql:
            fields = ", ".join(
                f"`{field}` {_MYSQL_TYPES[kind]} PATH '$.{field}'" for field, kind in types.items()
            )
            table = func.json_table(document, literal_column(f"'$[*]' COLUMNS ({fields})"))
            return table.table_valued(
                *[column(name, kind) for name, kind in types.items()], name=name
            )
        each = func.json_each(document).table_valued("value")
        extracted = [
            func.json_extract(each.c.value, literal(f"$.{name}"), type_=kind()).label(name)
            for name, kind in types.items()
        ]
        return select(*extracted).subquery("given")

    def one_of(
        self, column: Column[str] | Column[int], given: ColumnElement[Any]
    ) -> ColumnElement[bool]:
        """That one of the given rows has this value, for a change: MariaDB seeks only what is joined."""
        return column == given if self.mysql else column.in_(select(given))

    def insert_new(self, table: Table, columns: str, key: str) -> Insert:
        """Insert a row; changes none where its key is there."""
        row = self._insert(table, columns)
        if self.mysql:
            return row.prefix_with("IGNORE")
        return cast("sqlite.Insert", row).on_conflict_do_nothing(index_elements=key.split())

    def upsert(
        self,
        table: Table,
        columns: str,
        key: str,
        changed: str,
        where: Callable[[ColumnCollection[str, Any]], ColumnElement[bool]] | None = None,
    ) -> Insert:
        """Insert a row, or change those columns of the one that has its key.

        :param changed: a column that ``where`` reads comes last: MySQL changes one after the other.
        :param where: only if that holds, for the row that was to be inserted.
        """
        row = self._insert(table, columns)
        if self.mysql:
            new = cast("mysql.Insert", row).inserted
            allowed = None if where is None else where(new)
            changes = [
                (
                    name,
                    new[name]
                    if allowed is None
                    else case((allowed, new[name]), else_=table.c[name]),
                )
                for name in changed.split()
            ]
            return cast("mysql.Insert", row).on_duplicate_key_update(changes)
        new = cast("sqlite.Insert", row).excluded
        return cast("sqlite.Insert", row).on_conflict_do_update(
            index_elements=key.split(),
            set_={name: new[name] for name in changed.split()},
            where=None if where is None else where(new),
        )

    def _insert(self, table: Table, columns: str) -> Insert:
        into: Callable[[Table], Insert] = sqlite.insert
        if self.dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql

            into = postgresql.insert
        elif self.mysql:
            from sqlalchemy.dialects import mysql

            into = mysql.insert
        return into(table).values(parameters(columns))


def parameters(columns: str) -> dict[str, BindParameter[Any]]:
    return {name: bindparam(name) for name in columns.split()}
