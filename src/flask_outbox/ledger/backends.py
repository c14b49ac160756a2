"""The databases that an outbox can live in, and the drivers it speaks to them by."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from sqlalchemy import URL, Dialect, make_url
from sqlalchemy.exc import ArgumentError

from ..errors import ConfigurationError, OutboxError

#: By database: the drivers that will do, the first that is installed where the URL names none.
DRIVERS = {
    "sqlite": ("pysqlite",),
    "postgresql": ("psycopg", "psycopg2"),
    "mysql": ("pymysql",),
    "mariadb": ("pymysql",),
}

_EXTRAS = {"postgresql": "postgres", "mysql": "mysql"}

#: Unix seconds, not those at which a transaction began.
_TIMES = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT unix_timestamp(sysdate(6))",
}

#: The first that let a claim pass over what another one has locked, and read rows from JSON.
_OLDEST_MARIADB, _OLDEST_MYSQL = (10, 6), (8, 0)

#: What each connection is set to: times as they are, and no value cut to fit.
_MYSQL_SESSION = (
    "SET time_zone = '+00:00',"
    " sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"
)


def database_url(url: str) -> URL:
    """What ``MAIL_OUTBOX_URL`` says.

    :raises ConfigurationError: no outbox can live there.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError(
            "'MAIL_OUTBOX_URL' must be a database URL as SQLAlchemy knows them, like sqlite:////var/lib/app/outbox.sqlite."
        ) from error
    name, _, driver = parsed.drivername.partition("+")
    name = "mysql" if name == "mariadb" else name
    if name not in DRIVERS:
        raise ConfigurationError(
            "'MAIL_OUTBOX_URL' must name a SQLite, PostgreSQL, MySQL or MariaDB database."
        )
    if name == "sqlite" and (parsed.database or ":").startswith((":", "file:")):
        raise ConfigurationError(
            "'MAIL_OUTBOX_URL' must name a file: an outbox in memory keeps nothing."
        )
    return parsed.set(drivername=f"{name}+{_driver(name, driver)}")


def _driver(name: str, driver: str) -> str:
    drivers = DRIVERS[name]
    if driver and driver not in drivers:
        ours = " or ".join(f"{name}+{one}://" for one in drivers)
        raise ConfigurationError(
            f"'MAIL_OUTBOX_URL' names the driver {driver!r}, which the outbox cannot use: let it begin with {ours}."
        )
    here = (one for one in drivers if name == "sqlite" or find_spec(one))
    return driver or next(here, drivers[0])


def driver_error(url: URL) -> type[Exception]:
    """The root of the driver's exceptions. The driver is loaded here, in the thread that sets the application up.

    :raises ConfigurationError: it is not installed.
    """
    try:
        error: type[Exception] = url.get_dialect().import_dbapi().Error
    except ImportError as missing:
        extra = _EXTRAS[url.get_backend_name()]
        raise ConfigurationError(
            f"'MAIL_OUTBOX_URL' needs the package {missing.name!r}: pip install flask-outbox[{extra}]"
        ) from missing
    return error


def server_options(url: URL) -> dict[str, Any]:
    """What SQLAlchemy is told of a server."""
    if url.get_backend_name() != "mysql":
        return {}
    # As elsewhere, a statement sees what was committed before it, and locks no gaps between rows.
    return {
        "isolation_level": "READ COMMITTED",
        "connect_args": {"init_command": _MYSQL_SESSION, "charset": "utf8mb4"},
    }


def time_of(dialect: Dialect) -> str:
    """The query of a server's time."""
    return _TIMES[dialect.name]


def check_server(dialect: Dialect) -> None:
    """:raises OutboxError: what a connection was made to is too old."""
    if dialect.name != "mysql":
        return
    version = tuple(int(part) for part in (dialect.server_version_info or ())[:2])
    mariadb = bool(getattr(dialect, "is_mariadb", False))
    if version < (_OLDEST_MARIADB if mariadb else _OLDEST_MYSQL):
        found = f"{'MariaDB' if mariadb else 'MySQL'} {'.'.join(map(str, version))}"
        raise OutboxError(
            f"The outbox needs MariaDB 10.6 or MySQL 8.0 or newer, this is {found}: upgrade it, or let MAIL_OUTBOX_URL"
            " name another database."
        )
