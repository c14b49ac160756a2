"""A plugin: the tests of an outbox run on every database that it can live in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_outbox.ledger.store import Store
from flask_outbox.ledger.tables import metadata

from .mariadb import MariaDB
from .postgres import Postgres

#: What is known of SQLite alone: its file, its machine, its plans.
_SQLITE = {"traced", "effort"}

#: The databases that the outbox can live in, each with the driver it is used by.
DATABASES = ("sqlite", "postgresql+psycopg", "mysql+pymysql")

#: What ``--few-databases`` leaves to a run without it: what a server says is the same on every Python.
_LEFT_OUT = {"postgresql+psycopg2", "mysql+pymysql", "mariadb"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--few-databases",
        action="store_true",
        help="of what is tried on each database, run it on SQLite and on PostgreSQL by one driver",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--few-databases"):
        config.hook.pytest_deselected(items=[item for item in items if left_out(item)])
        items[:] = [item for item in items if not left_out(item)]


def left_out(item: pytest.Item) -> bool:
    """Whether ``--few-databases`` does without a test."""
    given: dict[str, object] = item.callspec.params if hasattr(item, "callspec") else {}
    wanted = {value for value in given.values() if isinstance(value, str)}
    fixtures = {*getattr(item, "fixturenames", ())} - given.keys()
    return bool(_LEFT_OUT & (wanted | fixtures))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of a store is one of every database, but for those of SQLite's own."""
    if "database" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only")
        alone = only.args if only else ("sqlite",) if _SQLITE & {*metafunc.fixturenames} else ()
        metafunc.parametrize("database", alone or DATABASES, indirect=True, scope="function")


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An outbox with nothing in it; to copy is faster than to make."""
    path = tmp_path_factory.mktemp("empty") / "outbox.sqlite"
    store = Store(f"sqlite:///{path}")
    store.check_schema()
    store.dispose()
    return path


@pytest.fixture(scope="session")
def in_postgres(postgres: Postgres) -> str:
    """The URL of an outbox in PostgreSQL, which is emptied between the tests."""
    return _made(postgres.database())


@pytest.fixture(scope="session")
def in_mariadb(mariadb: MariaDB) -> str:
    """The URL of an outbox in MariaDB, which is emptied between the tests."""
    return _made(mariadb.database())


def _made(url: str) -> str:
    store = Store(url)
    store.create_schema()
    store.dispose()
    return url


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty outbox in one of :data:`DATABASES`."""
    kind = request.param
    if kind == "sqlite":
        shutil.copy(request.getfixturevalue("empty"), tmp_path)
        yield f"sqlite:///{tmp_path}/outbox.sqlite"
        return
    name = "mariadb" if kind.startswith("mysql") else "postgres"
    server: Postgres | MariaDB = request.getfixturevalue(name)
    url: str = request.getfixturevalue(f"in_{name}")
    yield url.replace(url.partition(":")[0], kind)
    server.clear(url, [name for name in metadata.tables if name != "mail_schema"])
