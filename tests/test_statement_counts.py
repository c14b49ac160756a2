"""How many statements a send and a delivery are, on each database and by each driver: as docs/databases.md says.

They are counted by whoever gets them: by SQLite, and from the servers' logs.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count, groupby
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session

from delivery.conftest import Road
from flask_outbox.delivery.settings import WorkerSettings
from flask_outbox.delivery.worker import Worker
from flask_outbox.ledger.joining import Joining
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Letter, Terms
from flask_outbox.rules.retry import RetryPolicy
from ledger.conftest import ACCEPTED, NOW, claim, letter, result
from servers.mariadb import MariaDB
from servers.postgres import Postgres

POSTGRES, PSYCOPG2, MARIADB = "postgresql+psycopg", "postgresql+psycopg2", "mysql+pymysql"

pytestmark = pytest.mark.only("sqlite", POSTGRES, PSYCOPG2, MARIADB)

#: A line of the page's table: what is done, and its numbers by database.
_LINE = re.compile(r"^\| ([^|]+?) +\| (\d+) +\| (\d+) +\| (\d+) +\|$", re.MULTILINE)
PAGE = _LINE.findall((Path(__file__).parents[1] / "docs/databases.md").read_text())
COLUMNS = {"sqlite": 1, POSTGRES: 2, PSYCOPG2: 2, MARIADB: 3}

#: How a transaction begins and ends.
ENDS = {
    "sqlite": ["BEGIN", "COMMIT"],
    POSTGRES: ["BEGIN", "COMMIT"],
    PSYCOPG2: ["BEGIN", "COMMIT"],
    MARIADB: ["COMMIT"],
}

#: What is no statement of ours; psycopg2 sets what it has set before once more after one without a transaction.
_OTHERS = {"BEGIN", "COMMIT", "ROLLBACK", "SET"}

#: How a look begins that finds the lanes.
_LOOKS = {"WITH RECURSIVE", "SELECT this.lane,"}

SEND, LOOK = "a send", "a worker looks for what is due"
JOIN = "a send that joins a transaction"

#: Where it is otherwise: a single statement needs no transaction of its own, and there is another one to join.
OTHER_ENDS: dict[str, dict[str, list[str]]] = {
    "sqlite": {LOOK: []},
    POSTGRES: {SEND: [], LOOK: [], JOIN: []},
    PSYCOPG2: {SEND: ["SET"], LOOK: ["SET"], JOIN: []},
    MARIADB: {LOOK: ["ROLLBACK"], JOIN: []},
}

#: The statements since the last call, by their first two words.
Said = Callable[[], list[str]]

#: Makes an outbox ready, gives what is done to it, and tidies up.
Act = Callable[[Store], AbstractContextManager[Callable[[], object]]]

_numbers = count(1)


# -- what is done ------------------------------------------------------------------------------------------------


def batch(
    many: int = 1, *, key: str | None = None, file: bool = False
) -> list[tuple[Letter, Terms]]:
    files = [b"file"] if file else []
    return [(letter(next(_numbers), attached=files), Terms(key=key)) for _ in range(many)]


def send(*, key: str | None = None, file: bool = False) -> Act:
    entries = batch(key=key, file=file)
    return lambda store: nullcontext(lambda: store.add(entries, NOW))


@contextmanager
def join(store: Store) -> Iterator[Callable[[], object]]:
    """To a transaction of the application's in the same database; on SQLite it is stored after that."""
    engine, entries = create_engine(store.database.url), batch()
    with Session(engine) as session:
        session.execute(text("SELECT 1"))
        joining = Joining(session, "a test")
        yield lambda: joining.store(store, entries).rows or store.add(entries, NOW)
        session.commit()
    engine.dispose()


@contextmanager
def look(store: Store) -> Iterator[Callable[[], object]]:
    store.add(batch(), NOW)
    yield lambda: store.agenda(NOW)


def take(many: int, *, file: bool = False) -> Act:
    @contextmanager
    def ready(store: Store) -> Iterator[Callable[[], object]]:
        store.add(batch(many, file=file), NOW)
        yield lambda: claim(store, many)

    return ready


def finish(many: int) -> Act:
    @contextmanager
    def ready(store: Store) -> Iterator[Callable[[], object]]:
        store.add(batch(many), NOW)
        results = [result(one, ACCEPTED) for one in claim(store)]
        yield lambda: store.finish(results, NOW)

    return ready


#: By their names in the page.
ACTS: dict[str, Act] = {
    SEND: send(),
    "a send with a `key`": send(key="welcome:1"),
    "a send with an attachment": send(file=True),
    JOIN: join,
    LOOK: look,
    "it claims one mail": take(1),
    "it claims 20": take(20),
    "it claims 20 with attachments": take(20, file=True),
    "it records one result": finish(1),
    "it records 20": finish(20),
}


def settle(store: Store) -> None:
    """Let nothing be due."""
    while claims := claim(store):
        store.finish([result(one, ACCEPTED) for one in claims], NOW)


def work(store: Store) -> None:
    """A worker drains what is due."""

    async def main() -> None:
        worker = Worker(store, Road().courier(), WorkerSettings(), policy=RetryPolicy())
        worker.finish()
        await worker.run()

    asyncio.run(main())


# -- who counts --------------------------------------------------------------------------------------------------


@pytest.fixture
def kind(database: str) -> str:
    return database.partition(":")[0]


@pytest.fixture
def store(kind: str, database: str) -> Iterator[Store]:
    heard = "?options=-clog_statement%3Dall" if kind.startswith("postgresql") else ""
    store = Store(database + heard)
    yield store
    store.dispose()


@pytest.fixture
def said(kind: str, store: Store, request: pytest.FixtureRequest) -> Iterator[Said]:
    """What the store says from now on."""
    if kind == "sqlite":
        yield _new(_to_sqlite(store))
    elif kind == MARIADB:
        mariadb: MariaDB = request.getfixturevalue("mariadb")
        with mariadb.connect("mysql") as connection:
            cursor = connection.cursor()
            cursor.execute("SET GLOBAL log_output = 'TABLE', general_log = 1")
            cursor.execute("TRUNCATE general_log")
            yield _new(lambda: _to_mariadb(cursor))
            cursor.execute("SET GLOBAL general_log = 0")
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        yield _new(lambda: _LOGGED.findall((postgres.folder / "log").read_text()))


#: What PostgreSQL logs of a statement, up to its second word.
_LOGGED = re.compile(r" LOG:  (?:statement|execute \S+): \W*(\w+(?: \S+)?)")


def _to_mariadb(cursor: Any) -> list[str]:
    cursor.execute(
        "SELECT argument FROM general_log WHERE command_type = 'Query' AND thread_id <> connection_id()"
    )
    return [_words(statement) for (statement,) in cursor.fetchall()]


def _to_sqlite(store: Store) -> Callable[[], list[str]]:
    seen: list[str] = []

    def trace(connection: Any, *_: object) -> None:
        connection.set_trace_callback(seen.append)

    engines = store.database._ready()
    for engine in (engines.durable, engines.relaxed):
        event.listen(engine, "checkout", trace)
    # A statement that runs for many rows, one after the other, is handed over once.
    return lambda: [_words(run) for run, _ in groupby(seen, key=lambda one: one.split()[:3])]


def _words(statement: str | list[str]) -> str:
    words = statement.split() if isinstance(statement, str) else statement
    return " ".join(words[:2])


def _new(read: Callable[[], list[str]]) -> Said:
    known = len(read())

    def news() -> list[str]:
        nonlocal known
        statements = read()
        before, known = known, len(statements)
        return statements[before:]

    return news


def _heard(store: Store, said: Said) -> Iterator[tuple[str, list[str]]]:
    """What each act says, by its name."""
    for name, act in ACTS.items():
        settle(store)
        with act(store) as do:
            said()
            do()
            yield name, said()


def _is_ours(statement: str) -> bool:
    return statement.split()[0] not in _OTHERS


# -- what they find ----------------------------------------------------------------------------------------------


def test_a_send_a_claim_and_a_result_are_as_many_statements_as_the_page_says(
    kind: str, store: Store, said: Said
) -> None:
    found = {name: len([*filter(_is_ours, statements)]) for name, statements in _heard(store, said)}
    page = {line[0]: int(line[COLUMNS[kind]]) for line in PAGE}
    assert found.items() <= page.items()


def test_each_write_of_several_statements_is_one_transaction(
    kind: str, store: Store, said: Said
) -> None:
    ends = {
        name: [one.split()[0] for one in statements if not _is_ours(one)]
        for name, statements in _heard(store, said)
    }
    assert ends == dict.fromkeys(ACTS, ENDS[kind]) | OTHER_ENDS[kind]


def test_a_delivery_by_a_worker_is_a_claim_and_a_result(
    kind: str, store: Store, said: Said
) -> None:
    """Beside its looks, and what it says when it begins and ends."""

    def statements() -> Counter[str]:
        said()
        work(store)
        return Counter(one for one in said() if _is_ours(one) and one not in _LOOKS)

    # What waits there has its lane looked after when a worker begins.
    (later, _), *_ = batch()
    store.add([(later, Terms(due=time.time() + 3600))], NOW)
    work(store)
    without = statements()
    store.add(batch(), NOW)
    (line,) = [line for line in PAGE if line[0] == "a mail is delivered"]
    assert (statements() - without).total() == int(line[COLUMNS[kind]])
