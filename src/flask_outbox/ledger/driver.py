"""SQL as a driver takes it: built in SQLAlchemy Core, compiled once a dialect.

What one dialect says otherwise than another stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, cast

from sqlalchemy import (
    Dialect,
    FromClause,
    String,
    Table,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ClauseElement
from sqlalchemy.types import TypeEngine

from .tables import literal

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

Types: TypeAlias = Mapping[str, type[TypeEngine[Any]]]


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

    def exec_driver_sql(self, statement: str, parameters: Any = ()) -> DBAPICursor:
        """Run it, for each if the parameters are a list."""
        cursor = self._connection.cursor()
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

    def given(self, types: Types, rows: str = "rows") -> FromClause:
        """The rows of a JSON document as a table."""
        document = bindparam(rows, type_=String)
        if self.dialect.name == "postgresql":
            # Each costs megabytes and milliseconds: a dialect is loaded by those who use it.
            from sqlalchemy.dialects import postgresql

            columns = [column(name, kind) for name, kind in types.items()]
            recordset = func.jsonb_to_recordset(document.cast(postgresql.JSONB))
            return recordset.table_valued(*columns).render_derived(
                "given" if rows == "rows" else rows, with_types=True
            )
        each = func.json_each(document).table_valued("value")
        fields = [
            func.json_extract(each.c.value, literal(f"$.{name}"), type_=kind()).label(name)
            for name, kind in types.items()
        ]
        return select(*fields).subquery("given")

    def upsert(self, table: Table, columns: str) -> sqlite.Insert | postgresql.Insert:
        if self.dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql

            return postgresql.insert(table).values(parameters(columns))
        return sqlite.insert(table).values(parameters(columns))


def parameters(columns: str) -> dict[str, BindParameter[Any]]:
    return {name: bindparam(name) for name in columns.split()}
