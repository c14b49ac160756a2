"""The connections to a server: what they are asked before they are used, and how they go back."""

from __future__ import annotations

import pytest

from flask_outbox.errors import OutboxError
from flask_outbox.ledger import opened
from flask_outbox.ledger.store import Store
from ledger.conftest import NOW, claim, ids, put
from servers.mariadb import MariaDB
from servers.postgres import Postgres

POSTGRES, PSYCOPG2, MARIADB = "postgresql+psycopg", "postgresql+psycopg2", "mysql+pymysql"

pytestmark = pytest.mark.only(POSTGRES, PSYCOPG2, MARIADB)


@pytest.fixture
def server(database: str, request: pytest.FixtureRequest) -> Postgres | MariaDB:
    found: Postgres | MariaDB = request.getfixturevalue(
        "mariadb" if database.startswith("mysql") else "postgres"
    )
    return found


def test_a_connection_that_was_cut_off_while_it_was_idle_is_replaced(
    store: Store, database: str, server: Postgres | MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, 1)
    server.clear(database, [])
    monkeypatch.setattr(opened, "_IDLE", 0.0)
    put(store, 2)
    assert ids(claim(store)) == [1, 2]


def test_a_connection_that_is_cut_off_in_use_fails_that_use_alone(
    store: Store, database: str, server: Postgres | MariaDB
) -> None:
    def use() -> None:
        with store.database.direct() as line:
            server.clear(database, [])
            line.exec_driver_sql("SELECT 1")

    put(store, 1)
    with pytest.raises(OutboxError):
        use()
    put(store, 2)
    assert ids(claim(store)) == [1, 2]


def test_after_a_look_that_fails_a_transaction_still_is_one(store: Store) -> None:
    def change() -> None:
        with store.database.direct() as line:
            line.exec_driver_sql("UPDATE mail_delivery SET attempts = 9")
            line.exec_driver_sql("SELECT nothing FROM nowhere")

    put(store, 1)
    with pytest.raises(OutboxError), store.database.glance() as line:
        line.exec_driver_sql("SELECT nothing FROM nowhere")
    with pytest.raises(OutboxError):
        change()
    assert [one.attempts for one in claim(store)] == [0]


def test_a_transaction_that_fails_keeps_no_lock(store: Store) -> None:
    def lock() -> None:
        with store.database.direct() as line:
            line.exec_driver_sql("SELECT id FROM mail_delivery FOR UPDATE")
            line.exec_driver_sql("SELECT nothing FROM nowhere")

    put(store, 1)
    with pytest.raises(OutboxError):
        lock()
    assert [lane.due for lane in store.agenda(NOW)] == [NOW]
    assert ids(claim(store)) == [1]


def test_a_look_leaves_no_transaction_open(store: Store, database: str) -> None:
    put(store, 1)
    store.agenda(NOW)
    running = (
        "SELECT count(*) FROM information_schema.innodb_trx"
        if database.startswith("mysql")
        else "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    )
    with store.database.glance() as line:
        ((count,),) = line.exec_driver_sql(running).fetchall()
    assert count == 0
