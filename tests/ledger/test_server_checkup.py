"""What the settings of a database server are warned of."""

from __future__ import annotations

import pytest

from flask_outbox.ledger.checkup import examine
from flask_outbox.ledger.store import Store
from flask_outbox.rules.findings import Finding, Level
from ledger.test_packets import MB, taking
from servers.mariadb import MariaDB

DEFAULT_SIZE = 25_000_000


def warned(store: Store, max_size: int = DEFAULT_SIZE) -> dict[str, Finding]:
    """The warnings about the server, by the setting that each begins with."""
    found = [one for one in examine(store.database, max_size) if one.subject == "database"]
    return {one.text.split(" ")[0]: one for one in found if one.level is Level.WARNING}


@pytest.mark.only("postgresql+psycopg", "postgresql+psycopg2")
def test_a_postgresql_that_flushes_nothing_is_warned_of(store: Store) -> None:
    """The one of the tests does not, so that they are quick."""
    (found,) = warned(store).values()
    assert str(found).startswith("warning  database: fsync is off: a crash of its machine may cost")
    assert "fsync = on" in found.cure


@pytest.mark.only("postgresql+psycopg")
def test_an_account_whose_commits_do_not_wait_is_warned_of(database: str) -> None:
    store = Store(f"{database}?options=-csynchronous_commit%3Doff")
    found = warned(store)["synchronous_commit"]
    assert "the mail that was accepted in the last second" in found.text
    assert "ALTER ROLE" in found.cure
    store.dispose()


@pytest.mark.only("mysql+pymysql")
def test_a_mariadb_that_flushes_seldom_is_warned_of(mariadb: MariaDB, store: Store) -> None:
    found = warned(store)["innodb_flush_log_at_trx_commit"]
    assert "is 2: a crash of its machine may cost" in found.text
    with mariadb.connect() as connection:
        connection.cursor().execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
        try:
            said = [str(one) for one in examine(store.database, 1_000)]
            assert said[1:] == ["ok       database: What it has committed outlives a crash."]
        finally:
            connection.cursor().execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2")


@pytest.mark.only("mysql+pymysql")
def test_a_mariadb_that_takes_less_than_the_settings_allow_is_warned_of(
    mariadb: MariaDB, store: Store
) -> None:
    with taking(mariadb, 16 * MB):
        found = warned(store)["max_allowed_packet"]
        assert "is 16,777,216: a message with an attachment of more than 8.4 MB" in found.text
        assert "Set max_allowed_packet = 64M for the server" in found.cure
        assert "max_allowed_packet" not in warned(store, max_size=10_000_000)
    with taking(mariadb, 64 * MB):
        assert "max_allowed_packet" not in warned(store)
