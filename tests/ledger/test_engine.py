"""The connections: how the file is made, what it is set to, what its refusals say, and forks."""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event, update

from flask_outbox.errors import ConfigurationError, OutboxError, OutboxFileError, SchemaError
from flask_outbox.ledger import opened, tables
from flask_outbox.ledger.engine import Database
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Terms
from ledger.conftest import NOW, claim, ids, letter, put
from servers.postgres import Postgres

NOBODY = 65_534


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user whom the system refuses something, also where the tests run as root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def open_folder(store: Store) -> Iterator[Path]:
    """A folder that every user reaches; and all modules are loaded, which a plain user might not be able to read."""
    put(store, 1)
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def pragma(store: Store, name: str, *, durable: bool = False) -> object:
    with store.database.transaction(durable=durable) as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()


# -- the URL ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("no url", "must be a database URL"),
        ("oracle://host/db", "must name a SQLite, PostgreSQL, MySQL or MariaDB database"),
        ("postgresql+asyncpg://host/db", "names the driver 'asyncpg', which the outbox cannot use"),
        ("mysql+mysqldb://host/db", "names the driver 'mysqldb', which the outbox cannot use"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite:///file:x?mode=memory&uri=true", "must name a file"),
    ],
)
def test_a_url_that_no_outbox_can_use_names_the_setting(url: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'MAIL_OUTBOX_URL' {what}"):
        Database(url)


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("postgresql+psycopg://host/db", "psycopg", "postgres"),
        ("mysql://host/db", "pymysql", "mysql"),
        ("mariadb+pymysql://host/db", "pymysql", "mysql"),
    ],
)
def test_a_missing_driver_is_named_with_the_extra_that_brings_it(
    url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    what = rf"needs the package '{package}': pip install flask-outbox\[{extra}\]"
    with pytest.raises(ConfigurationError, match=what):
        Database(url)


# -- the file --------------------------------------------------------------------------------------------------


def test_a_file_is_made_at_first_use_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "outbox.sqlite"
    store = Store(f"sqlite:///{path}")
    put(store, 1)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    store.dispose()


@pytest.mark.only("sqlite")
def test_a_file_is_set_to_what_an_outbox_needs(store: Store) -> None:
    assert pragma(store, "journal_mode") == "wal"
    assert pragma(store, "auto_vacuum") == 2  # incremental
    assert pragma(store, "journal_size_limit") == 16 * 2**20
    assert pragma(store, "busy_timeout") == 10_000
    assert pragma(store, "synchronous") == 1  # normal
    assert pragma(store, "synchronous", durable=True) == 2  # full
    with store.database.direct(durable=True) as line:
        assert list(line.exec_driver_sql("PRAGMA synchronous")) == [(2,)]


@pytest.mark.only("sqlite")
def test_a_file_that_was_deleted_or_replaced_takes_no_more_letters(store: Store) -> None:
    put(store, 1)
    assert store.path is not None
    store.path.rename(f"{store.path}.old")
    with pytest.raises(OutboxFileError, match="was deleted or replaced while in use: restart"):
        put(store, 2)
    store.path.touch()
    with pytest.raises(OutboxFileError, match="was deleted or replaced"):
        claim(store)


def test_a_relative_file_stays_where_it_is_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = Store("sqlite:///outbox.sqlite")
    monkeypatch.chdir(tmp_path / "elsewhere")
    put(store, 1)
    assert store.path == tmp_path / "outbox.sqlite"
    assert store.path.exists()
    store.dispose()


def test_making_the_tables_again_changes_nothing(store: Store) -> None:
    put(store, 1)
    store.create_schema()
    assert ids(claim(store)) == [1]


@pytest.mark.only("sqlite")
def test_tables_of_another_version_are_refused(store: Store) -> None:
    with store.database.transaction() as connection:
        connection.execute(update(tables.schema).values(version=99))
    store.dispose()
    with pytest.raises(SchemaError, match="version 99, this Flask-Outbox needs 2"):
        store.check_schema()


def test_a_server_database_without_tables_names_the_command_that_makes_them(
    postgres: Postgres,
) -> None:
    database = Database(postgres.database())
    with pytest.raises(SchemaError, match="run 'flask mail init-db'"):
        database.check_schema()
    database.create_schema()
    database.check_schema()
    database.dispose()


EIGHT = """
import os, sys
from ledger.conftest import put
from flask_outbox.ledger.store import Store
store = Store(f"sqlite:///{sys.argv[1]}")
gate, start = os.pipe()
children = []
for number in range(8):
    children.append(os.fork())
    if children[-1] == 0:
        os.close(start)
        os.read(gate, 1)
        put(store, *range(5 * number, 5 * number + 5))
        os._exit(0)
os.close(start)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


def run(code: str, path: Path | None) -> None:
    """Run a script on an outbox, in a process of its own, where a warning is an error too."""
    places = os.pathsep.join(sys.path)
    command = [sys.executable, "-W", "error", "-c", code, str(path)]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_eight_processes_start_on_one_fresh_file_at_the_same_moment(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "outbox.sqlite"
    run(EIGHT, path)
    store = Store(f"sqlite:///{path}")
    assert sorted(ids(claim(store))) == list(range(40))
    store.dispose()


# -- refusals --------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_named_with_the_cure(open_folder: Path) -> None:
    open_folder.chmod(0o555)
    store = Store(f"sqlite:///{open_folder}/outbox.sqlite")
    with unprivileged(), pytest.raises(OutboxFileError, match="Permission denied") as caught:
        put(store, 1)
    assert str(open_folder / "outbox.sqlite") in str(caught.value)
    assert "MAIL_OUTBOX_URL" in str(caught.value)


def test_a_file_of_another_user_is_named_with_the_cure(open_folder: Path) -> None:
    path = open_folder / "outbox.sqlite"
    path.touch(mode=0o400)
    path.chmod(0o000)
    store = Store(f"sqlite:///{path}")
    with unprivileged(), pytest.raises(OutboxFileError, match="unable to open") as caught:
        put(store, 1)
    assert f"{path} cannot be used" in str(caught.value)
    assert "Let the process's user read and write the file and its folder." in str(caught.value)


def test_a_lock_of_another_user_is_named_with_the_cure(open_folder: Path) -> None:
    lock = open_folder / "outbox.sqlite-init.lock"
    lock.touch()
    lock.chmod(0o000)
    store = Store(f"sqlite:///{open_folder}/outbox.sqlite")
    with unprivileged(), pytest.raises(OutboxFileError, match="must belong to the user"):
        put(store, 1)


def test_a_file_that_is_no_database_is_named_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    path.write_bytes(b"no database" * 1_000)
    store = Store(f"sqlite:///{path}")
    with pytest.raises(OutboxFileError, match="file is not a database") as caught:
        put(store, 1)
    assert str(path) in str(caught.value)
    assert "Move the file away" in str(caught.value)


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "outbox.sqlite").mkdir()
    with pytest.raises(OutboxFileError, match="is not a file"):
        put(Store(f"sqlite:///{tmp_path}/outbox.sqlite"), 1)


@pytest.mark.only("sqlite")
def test_a_full_disk_is_named_and_nothing_is_half_stored(store: Store) -> None:
    def fill(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # as many as there are

    put(store, 1)
    store.dispose()  # connections that are kept are not checked out again
    durable = store.database._ready().durable
    event.listen(durable, "checkout", fill)
    with pytest.raises(OutboxFileError, match=r"disk is full. Free space on its disk."):
        store.add([(letter(2), Terms()), (letter(3, attached=[bytes(100_000)]), Terms())], NOW)
    event.remove(durable, "checkout", fill)
    store.dispose()
    assert ids(claim(store)) == [1]


@pytest.mark.only("sqlite")
def test_a_file_that_stays_locked_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "BUSY", 0.01)
    put(store, 1)
    store.dispose()
    with closing(sqlite3.connect(str(store.path))) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutboxFileError, match=r"database is locked. Another process kept it"):
            claim(store)


def test_any_other_refusal_is_an_outbox_error(store: Store) -> None:
    put(store, 1)
    with pytest.raises(OutboxError, match=r"(?i)unique constraint|duplicate entry"):
        put(store, 1)


def test_a_refusal_does_not_show_what_was_to_be_stored(store: Store) -> None:
    put(store, 1)
    with pytest.raises(OutboxError) as caught, store.database.transaction() as connection:
        store.enqueue(connection, [(letter(1), Terms())], NOW)
    assert "Hello" not in f"{caught.value!r}{caught.value.__cause__!r}"


@pytest.mark.only("sqlite")
def test_sqlite_that_is_too_old_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 32, 3))
    with pytest.raises(OutboxError, match=r"needs SQLite 3\.33 or newer"):
        put(store, 1)


# -- transactions ----------------------------------------------------------------------------------------------


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    def fail() -> None:
        with store.database.transaction() as connection:
            store.enqueue(connection, [(letter(1), Terms())], NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert claim(store) == []


def test_a_snapshot_sees_one_moment(store: Store) -> None:
    counted = "SELECT count(*) FROM mail_letter"
    put(store, 1)
    with store.database.snapshot() as connection:
        assert connection.exec_driver_sql(counted).scalar_one() == 1
        put(store, 2)
        assert connection.exec_driver_sql(counted).scalar_one() == 1
    with store.database.snapshot() as connection:
        assert connection.exec_driver_sql(counted).scalar_one() == 2


def test_a_database_that_is_collected_closes_its_connections(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/outbox.sqlite")
    with database.snapshot() as connection:
        driver = connection.connection.driver_connection
    del database, connection
    gc.collect()
    assert isinstance(driver, sqlite3.Connection)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        driver.execute("SELECT 1")


# -- forks -----------------------------------------------------------------------------------------------------

HEAD = """
import os, sys, threading
from ledger.conftest import claim, ids, put
from flask_outbox.errors import OutboxFileError
from flask_outbox.ledger import engine, opened
from flask_outbox.ledger.store import Store
path = sys.argv[1]
store = Store(f"sqlite:///{path}")
files = lambda: [n for n in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{n}").startswith(path)]
put(store, 1)
"""

FORK = """
assert files()
child = os.fork()
if child == 0:
    assert not files(), "inherited"
    put(store, 2)
    os._exit(0)
assert not files(), "left open"
assert os.waitpid(child, 0)[1] == 0
put(store, 3)
assert ids(claim(store)) == [1, 2, 3]
store.dispose()
"""

CLOSED_BY_THE_PARENT = """
stored, write = os.pipe()
closed, close = os.pipe()
if os.fork() == 0:
    put(store, 2)
    os.write(write, b"x")
    os.read(closed, 1)
    put(store, 3)
    os._exit(0)
os.read(stored, 1)
store.dispose()
os.write(close, b"x")
assert os.wait()[1] == 0
assert ids(claim(store)) == [1, 2, 3]
store.dispose()
"""

IN_USE = """
within, going, ended = threading.Event(), threading.Event(), threading.Event()
def send():
    with store.database.direct():
        within.set()
        going.wait()
        store.agenda(0)  # one that is waited for may go on
        ended.set()
sending = threading.Thread(target=send)
sending.start()
within.wait()
threading.Timer(0.05, going.set).start()
child = os.fork()
if child == 0:
    put(store, 2)
    os._exit(0)
assert ended.is_set(), "not waited for"
sending.join()
"""

IN_USE_HERE = """
with store.database.direct():
    child = os.fork()
    if child == 0:
        try:
            put(store, 2)
        except OutboxFileError as error:
            os._exit("was open when this process was forked" not in str(error))
assert os.waitpid(child, 0)[1] == 0
put(store, 3)
assert ids(claim(store)) == [1, 3]
store.dispose()
"""


@pytest.mark.only("sqlite")
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")
@pytest.mark.parametrize("code", [FORK, CLOSED_BY_THE_PARENT], ids=["open", "closed"])
def test_a_fork_finds_nothing_open_and_what_it_stores_is_kept(store: Store, code: str) -> None:
    run(HEAD + code, store.path)
    assert len(Reports(store).list()) == 3


@pytest.mark.only("sqlite")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_waits_for_the_transactions_of_other_threads(store: Store) -> None:
    run(HEAD + IN_USE, store.path)


@pytest.mark.only("sqlite")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_within_a_transaction_cannot_use_the_outbox_and_says_so(store: Store) -> None:
    run(HEAD + IN_USE_HERE, store.path)
