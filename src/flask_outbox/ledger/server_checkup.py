"""What the settings of a database server mean for mail that it has accepted, or is to accept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from ..rules.findings import Finding, ok, warning
from .driver import MYSQL
from .engine import Database
from .packets import enough_for, statement


@dataclass(frozen=True, slots=True)
class _Promise:
    """A setting by which a commit is on the disk.

    :param ask: the query of its value.
    :param kept: the values by which it is.
    :param lost: what a crash costs otherwise.
    """

    name: str
    ask: str
    kept: tuple[str, ...]
    lost: str
    cure: str


_LAST = "a crash of its machine may cost the mail that was accepted in the last second"

_POSTGRESQL = (
    _Promise(
        "fsync",
        "SELECT current_setting('fsync')",
        ("on",),
        "a crash of its machine may cost mail that was accepted, and the whole database with it",
        "Set fsync = on in postgresql.conf.",
    ),
    _Promise(
        "synchronous_commit",
        "SELECT current_setting('synchronous_commit')",
        ("on", "local", "remote_write", "remote_apply"),
        "a crash of the server may cost the mail that was accepted in the last second",
        "Set synchronous_commit = on for the account: ALTER ROLE … SET synchronous_commit = on.",
    ),
)

#: https://mariadb.com/docs/server/server-usage/storage-engines/innodb/innodb-system-variables
_INNODB = (
    _Promise(
        "innodb_flush_log_at_trx_commit",
        "SELECT @@global.innodb_flush_log_at_trx_commit",
        ("1", "3"),
        _LAST,
        "Set innodb_flush_log_at_trx_commit = 1 for the server.",
    ),
)


def examine_server(database: Database, max_size: int) -> Iterator[Finding]:
    """Look at a server.

    :param max_size: bytes of the largest message that is to be stored.
    :raises OutboxError: it cannot be asked.
    """
    with database.snapshot() as connection:
        is_mysql = connection.dialect.name in MYSQL
        broken = list(_broken(connection, _INNODB if is_mysql else _POSTGRESQL))
        yield from broken or [ok("database", "What it has committed outlives a crash.")]
        if is_mysql:
            yield from _too_small(connection, max_size)


def _broken(connection: Connection, promises: tuple[_Promise, ...]) -> Iterator[Finding]:
    for promise in promises:
        value = str(connection.exec_driver_sql(promise.ask).scalar_one())
        if value not in promise.kept:
            yield warning("database", f"{promise.name} is {value}: {promise.lost}.", promise.cure)


def _too_small(connection: Connection, max_size: int) -> Iterator[Finding]:
    """Whether it refuses messages that the settings allow."""
    asked = connection.exec_driver_sql("SELECT @@global.max_allowed_packet")
    most = int(asked.scalar_one())
    # In base64, three quarters of a message are its attachment.
    if most < statement(max_size * 3 // 4):
        yield warning(
            "database",
            f"max_allowed_packet is {most:,}: a message with an attachment of more than {most / 2e6:.1f} MB is refused,"
            f" though MAIL_MAX_SIZE allows messages of {max_size:,} bytes.",
            f"Set max_allowed_packet = {enough_for(max_size)} for the server, or MAIL_MAX_SIZE to less.",
        )
