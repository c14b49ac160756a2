"""The tables: how they are made, how older ones are brought to this version, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import Dialect, create_engine, inspect, update

from flask_outbox.errors import OutboxError, SchemaError
from flask_outbox.ledger import schema, tables
from flask_outbox.ledger.backends import check_server
from flask_outbox.ledger.store import Store
from ledger.conftest import NOW, claim, ids, put

SERVERS = ["postgres", "mariadb"]


@pytest.fixture
def fresh(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database of a server."""
    server = request.getfixturevalue(request.param)
    return str(server.database())


@pytest.fixture
def outbox(fresh: str) -> Iterator[Store]:
    store = Store(fresh)
    yield store
    store.dispose()


on_servers = pytest.mark.parametrize("fresh", SERVERS, indirect=True)


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a newer version is needed, which has one column more."""
    more = "ALTER TABLE mail_letter ADD COLUMN colour VARCHAR(16)"
    monkeypatch.setitem(schema.STEPS, tables.VERSION, lambda dialect: [more])
    monkeypatch.setattr(tables, "VERSION", tables.VERSION + 1)


def columns(store: Store) -> set[str]:
    with store.database.snapshot() as connection:
        return {column["name"] for column in inspect(connection).get_columns("mail_letter")}


# -- made ------------------------------------------------------------------------------------------------------


@on_servers
def test_tables_are_made_once(outbox: Store) -> None:
    assert [outbox.create_schema(), outbox.create_schema()] == [None, tables.VERSION]


@on_servers
def test_what_is_printed_for_a_dba_makes_an_outbox(fresh: str, outbox: Store) -> None:
    engine = create_engine(fresh)
    with engine.begin() as connection:
        for statement in outbox.database.script():
            connection.exec_driver_sql(statement)
    engine.dispose()
    put(outbox, 1)
    assert ids(claim(outbox)) == [1]
    assert outbox.database.script() == []


def test_printing_makes_no_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("none") / "outbox.sqlite"
    assert Store(f"sqlite:///{path}").database.script()[-1].startswith("INSERT INTO mail_schema")
    assert not path.exists()


@on_servers
def test_several_processes_may_make_them_at_the_same_moment(fresh: str, outbox: Store) -> None:
    found: list[int | None] = []

    def make() -> None:
        store = Store(fresh)
        found.append(store.create_schema())
        store.dispose()

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=str) == [tables.VERSION, tables.VERSION, None]


@pytest.mark.parametrize("fresh", ["mariadb"], indirect=True)
def test_what_was_cut_off_in_mariadb_is_completed(fresh: str, outbox: Store) -> None:
    statements = outbox.database.script()
    engine = create_engine(fresh)
    with engine.begin() as connection:
        for statement in statements[: len(statements) // 2]:
            connection.exec_driver_sql(statement)
    engine.dispose()
    assert outbox.create_schema() is None
    put(outbox, 1)


@pytest.mark.parametrize("fresh", ["postgres"], indirect=True)
def test_postgresql_vacuums_what_was_sent_however_much_is_kept(outbox: Store) -> None:
    outbox.create_schema()
    with outbox.database.snapshot() as connection:
        asked = "SELECT reloptions FROM pg_class WHERE relname = 'mail_delivery'"
        assert connection.exec_driver_sql(asked).scalar_one() == [
            "autovacuum_vacuum_threshold=1000",
            "autovacuum_vacuum_scale_factor=0.01",
            "vacuum_index_cleanup=on",
        ]


# -- brought to this version -----------------------------------------------------------------------------------


@on_servers
def test_an_older_outbox_is_refused_until_the_command_has_run(
    outbox: Store, request: pytest.FixtureRequest
) -> None:
    outbox.create_schema()
    put(outbox, 1)
    outbox.dispose()
    request.getfixturevalue("newer")
    with pytest.raises(SchemaError, match=r"version 2, .* needs 3: run 'flask mail init-db'"):
        put(outbox, 2)
    assert outbox.create_schema() == tables.VERSION - 1
    assert "colour" in columns(outbox)
    assert ids(claim(outbox)) == [1]


@on_servers
def test_only_what_is_missing_is_printed(outbox: Store, request: pytest.FixtureRequest) -> None:
    outbox.create_schema()
    request.getfixturevalue("newer")
    assert outbox.database.script() == [
        "ALTER TABLE mail_letter ADD COLUMN colour VARCHAR(16)",
        "UPDATE mail_schema SET version=3",
    ]


@pytest.mark.only("sqlite")
def test_an_older_file_is_brought_to_this_version_at_its_first_use(
    store: Store, request: pytest.FixtureRequest
) -> None:
    put(store, 1)
    store.dispose()
    request.getfixturevalue("newer")
    put(store, 2)
    assert "colour" in columns(store)
    assert ids(claim(store)) == [1, 2]


def test_an_outbox_of_version_1_is_brought_to_this_one(store: Store) -> None:
    put(store, 1)
    with store.database.transaction() as connection:
        connection.exec_driver_sql("ALTER TABLE mail_worker DROP COLUMN role")
        connection.execute(update(tables.schema).values(version=1))
    store.dispose()
    assert store.create_schema() == 1
    store.register_worker(NOW, "relay")
    assert ids(claim(store)) == [1]


@on_servers
def test_a_newer_outbox_is_refused_with_the_cure(
    outbox: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.create_schema()
    outbox.dispose()
    monkeypatch.setattr(tables, "VERSION", 0)
    for use in (outbox.create_schema, outbox.database.script, outbox.check_schema):
        with pytest.raises(SchemaError, match="run the version of Flask-Outbox that made them"):
            use()


# -- the server ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mariadb", "version", "found"),
    [(True, (10, 5, 29), "MariaDB 10.5"), (False, (5, 7, 44), "MySQL 5.7")],
)
def test_a_server_that_is_too_old_is_refused(
    mariadb: bool, version: tuple[int, ...], found: str
) -> None:
    old = SimpleNamespace(name="mysql", is_mariadb=mariadb, server_version_info=version)
    with pytest.raises(OutboxError, match=f"MariaDB 10.6 or MySQL 8.0 or newer, this is {found}"):
        check_server(cast(Dialect, old))


@pytest.mark.parametrize(("mariadb", "version"), [(True, (10, 6, 1)), (False, (8, 0, 11))])
def test_the_oldest_that_will_do_are_taken(mariadb: bool, version: tuple[int, ...]) -> None:
    oldest = SimpleNamespace(name="mysql", is_mariadb=mariadb, server_version_info=version)
    check_server(cast(Dialect, oldest))
