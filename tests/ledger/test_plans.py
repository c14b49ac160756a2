"""What servers do for the statements that run again and again: they seek, however much lies in front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection

from flask_outbox.ledger.rows import document
from flask_outbox.ledger.statements import statements_for
from flask_outbox.ledger.store import Store
from ledger.conftest import NOW

POSTGRES, MARIADB = "postgresql+psycopg", "mysql+pymysql"

#: Of each: waiting in a paused lane, sent, and waiting in the lane that is claimed from.
MANY = 20_000

#: Of an ordinary outbox.
SOME = 4_000

_SERIES = {
    "postgresql": f"generate_series(1, {MANY}) AS n(seq)",
    "mysql": f"seq_1_to_{MANY} AS n",
}

#: What runs at every claim and every result, with what it is asked.
ASKED: dict[str, dict[str, object]] = {
    "candidates": {
        "env": "",
        "lane": "default",
        "priority": 1,
        "now": NOW * 1000,
        "limit": 10,
        "begin": 0,
    },
    "claim": {"until": 1, "token": 1, "worker": None, "rows": document([{"id": 5, "rescued": 0}])},
    "held": {"rows": document([{"id": 5, "token": 1}])},
    "extend": {"until": 1, "rows": document([{"id": 5, "token": 1}])},
    "finish": {
        "rows": document(
            [{"id": 5, "token": 1, "state": "sent", "reason": "", "due": 1, "counted": 1}]
        )
    },
    "remove_deliveries": {"rows": document([{"id": f"{5:032}"}])},
}


def fill(connection: Connection) -> None:
    """A paused lane whose name comes first, and one with as many letters that are over as wait."""
    series = _SERIES[connection.dialect.name]
    for part, (state, lane) in enumerate(
        [("queued", "bulk"), ("sent", "default"), ("queued", "default")]
    ):
        connection.exec_driver_sql(
            "INSERT INTO mail_delivery (letter_id, part, env, state, transport, lane, priority, due, guarantee, size,"
            f" created) SELECT lpad(concat(seq, ''), 32, '0'), {part}, '', '{state}', '{lane}', '{lane}', 1, seq,"
            f" 'at_least_once', 1, seq FROM {series}"
        )


@pytest.fixture
def filled(store: Store) -> Store:
    with store.database.transaction() as connection:
        fill(connection)
    store.pause("bulk", "by hand", by="person")
    with store.database.transaction() as connection:
        kind = "ANALYZE" if connection.dialect.name == "postgresql" else "ANALYZE TABLE"
        connection.exec_driver_sql(f"{kind} mail_delivery")
    return store


def explained(store: Store, name: str, asked: dict[str, object]) -> Sequence[Any]:
    with store.database.transaction() as connection:
        statement = getattr(statements_for(connection.dialect), name)
        found = connection.exec_driver_sql(f"EXPLAIN {statement.text}", statement._bound(asked))
        return found.mappings().all()


@pytest.fixture
def ordinary(store: Store) -> Store:
    """As many letters as many an application keeps, half of them sent, and what those have left in the indexes."""
    numbers = f"generate_series(1, {SOME}) AS n(seq)"
    with store.database.transaction() as connection:
        for table, columns, values in (
            (
                "mail_letter",
                "message_id, sender, subject, size, created, content",
                "'', '', '', 1, 1, 'x'",
            ),
            ("mail_recipient", "position, part, address, state, updated", "0, 0, seq, 'open', 1"),
            (
                "mail_delivery",
                "part, env, state, transport, lane, priority, due, guarantee, size, created",
                "0, '', 'queued', 'default', 'default', 1, seq, 'at_least_once', 1, 1",
            ),
        ):
            its = "id" if table == "mail_letter" else "letter_id"
            connection.exec_driver_sql(
                f"INSERT INTO {table} ({its}, {columns}) SELECT lpad(concat(seq, ''), 32, '0'), {values} FROM {numbers}"
            )
    with store.database.transaction() as connection:
        connection.exec_driver_sql("ANALYZE mail_letter, mail_recipient, mail_delivery")
    with store.database.transaction() as connection:
        for state in ("sending", "sent"):
            connection.exec_driver_sql(
                f"UPDATE mail_delivery SET state = '{state}' WHERE due <= {SOME / 2}"
            )
    return store


@pytest.mark.only(POSTGRES)
def test_postgresql_seeks_in_an_ordinary_outbox_too(ordinary: Store) -> None:
    """It takes a document for a hundred rows, and would rather read all of a small table than seek so often."""
    letters = document([{"id": f"{5:032}"}])
    answers = {"now": 1, "rows": document([{"letter_id": f"{5:032}", "position": 0}])}
    more = {
        "agenda": {"env": "", "now": 1},
        "recipients_of": {"rows": letters},
        "contents_of": {"rows": letters},
        "answer": answers,
    }
    for name, asked in (ASKED | more).items():
        plan = "\n".join(str(row["QUERY PLAN"]) for row in explained(ordinary, name, asked))
        for table in ("letter", "recipient", "delivery"):
            assert f"Seq Scan on mail_{table} " not in plan, name


@pytest.mark.only(POSTGRES)
@pytest.mark.parametrize("name", ["held", "extend", "finish"])
def test_postgresql_finds_what_is_held_by_its_id(ordinary: Store, name: str) -> None:
    """The index of what is being sent is small, but it holds all that was sent since the last vacuum."""
    plan = "\n".join(str(row["QUERY PLAN"]) for row in explained(ordinary, name, ASKED[name]))
    assert "Index Scan using pk_mail_delivery on mail_delivery" in plan
    assert "ix_mail_delivery_leased" not in plan


@pytest.mark.only(POSTGRES)
def test_postgresql_seeks_and_sorts_nothing(filled: Store) -> None:
    for name, asked in ASKED.items():
        plan = "\n".join(str(row["QUERY PLAN"]) for row in explained(filled, name, asked))
        assert "Seq Scan on mail_delivery" not in plan, name
        assert "Sort" not in plan, name


@pytest.mark.only(MARIADB)
def test_mariadb_seeks_and_sorts_nothing(filled: Store) -> None:
    for name, asked in ASKED.items():
        for row in explained(filled, name, asked):
            assert row["table"] == "given" or row["key"] is not None, name
            assert "filesort" not in (row["Extra"] or ""), name


@pytest.mark.only(POSTGRES)
def test_postgresql_finds_the_lanes_by_the_live_index(filled: Store) -> None:
    plan = [row["QUERY PLAN"] for row in explained(filled, "agenda", {"env": "", "now": 1})]
    assert any("ix_mail_delivery_live" in line for line in plan)
    assert not any("Seq Scan on mail_delivery" in line for line in plan)


@pytest.mark.only(MARIADB)
def test_mariadb_finds_the_lanes_by_the_live_index(filled: Store) -> None:
    (found,) = [
        row
        for row in explained(filled, "agenda", {"env": "", "now": 1})
        if row["table"] == "mail_delivery"
    ]
    assert found["key"] == "ix_mail_delivery_live"
    assert "Using index for group-by" in found["Extra"]


@pytest.mark.only(MARIADB)
def test_mariadb_reads_no_more_rows_than_it_gives(filled: Store) -> None:
    def read(action: Callable[[], object]) -> int:
        return after(action) - after(lambda: None)

    def after(action: Callable[[], object]) -> int:
        asked = "SHOW GLOBAL STATUS LIKE 'Handler_read_%%'"
        with filled.database.snapshot() as connection:
            before = sum(int(row[1]) for row in connection.exec_driver_sql(asked, ()))
            action()
            return sum(int(row[1]) for row in connection.exec_driver_sql(asked, ())) - before

    assert read(lambda: filled.agenda(NOW)) < 100
    assert read(lambda: filled.claim("default", 1, 10, now=NOW, lease=30)) < 200
