"""The statements: each uses the index it is meant to use, and each is valid for every dialect it is built for."""

from __future__ import annotations

from functools import cached_property

import pytest
from sqlalchemy.dialects import postgresql

from flask_outbox.ledger import tables
from flask_outbox.ledger.driver import Statement
from flask_outbox.ledger.joined_statements import JoinedStatements
from flask_outbox.ledger.statements import Statements, statements_for
from flask_outbox.ledger.store import Store

pytestmark = pytest.mark.only("sqlite")

NAMES = [name for name in dir(Statements) if isinstance(getattr(Statements, name), cached_property)]

#: Those that SQLite has as well.
OF_BOTH = [name for name in NAMES if name not in vars(JoinedStatements)]

#: The plan of SQLite for what is run again and again, each line of it.
PLANS = {
    "candidates": [
        "SEARCH mail_delivery USING INDEX ix_mail_delivery_live (env=? AND lane=? AND priority=? AND due>? AND due<?)"
    ],
    "claim": ["SCAN rows", "SEARCH mail_delivery USING INTEGER PRIMARY KEY (rowid=?)"],
    "held": ["SCAN rows", "SEARCH mail_delivery USING INTEGER PRIMARY KEY (rowid=?)"],
    "finish": ["SCAN rows", "SEARCH mail_delivery USING INTEGER PRIMARY KEY (rowid=?)"],
    "extend": ["SCAN rows", "SEARCH mail_delivery USING INTEGER PRIMARY KEY (rowid=?)"],
    "answer": ["SCAN rows", "SEARCH mail_recipient USING PRIMARY KEY (letter_id=? AND position=?)"],
    "drop_transcripts": [
        "SCAN rows",
        "SEARCH mail_attempt USING INDEX ix_mail_attempt_letter_id (letter_id=?)",
    ],
    "recipients_of": ["SCAN rows", "SEARCH mail_recipient USING PRIMARY KEY (letter_id=?)"],
    "contents_of": [
        "SCAN rows",
        "SEARCH mail_letter USING INDEX sqlite_autoindex_mail_letter_1 (id=?)",
        "CORRELATED SCALAR SUBQUERY 1",
        "SEARCH mail_letter_blob USING PRIMARY KEY (letter_id=?)",
    ],
    "rescue": [
        "SCAN rows",
        "SEARCH mail_delivery USING INDEX ix_mail_delivery_leased (worker_id=?)",
    ],
    "rescue_all": ["SCAN mail_delivery USING INDEX ix_mail_delivery_leased"],
    "cancel": [
        "SEARCH mail_delivery USING INDEX sqlite_autoindex_mail_delivery_1 (letter_id=?)",
    ],
}


def plan(store: Store, statement: Statement) -> list[str]:
    """What SQLite will do; the document of rows is always called so."""
    values = dict.fromkeys(statement._order or (), 1) | {"rows": "[]"}
    with store.database.transaction() as connection:
        asked = statement._bound(values)
        steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.text}", asked)
        details = [str(step[3]) for step in steps]
    return ["SCAN rows" if "VIRTUAL TABLE" in detail else detail for detail in details]


def of_sqlite(store: Store, name: str) -> Statement:
    with store.database.snapshot() as connection:
        statement = getattr(statements_for(connection.dialect), name)
    assert isinstance(statement, Statement)
    return statement


@pytest.mark.parametrize("name", PLANS)
def test_what_runs_often_seeks_and_sorts_nothing(store: Store, name: str) -> None:
    assert plan(store, of_sqlite(store, name)) == PLANS[name]


def test_the_agenda_seeks_to_the_next_priority_or_the_next_lane(store: Store) -> None:
    steps = plan(store, of_sqlite(store, "agenda"))
    live = "SEARCH following USING INDEX ix_mail_delivery_live"
    assert [step for step in steps if step.startswith(live)] == [
        f"{live} (env=?)",
        f"{live} (env=? AND lane=? AND priority>?)",
        f"{live} (env=? AND lane>?)",
    ]
    assert not any("TEMP B-TREE" in step for step in steps)


@pytest.mark.parametrize("name", [name for name in OF_BOTH if not name.startswith("insert")])
def test_nothing_scans_a_table_that_grows(store: Store, name: str) -> None:
    scanned = {
        step for step in plan(store, of_sqlite(store, name)) if step.startswith("SCAN mail_")
    }
    assert scanned <= {
        "SCAN mail_worker",
        "SCAN mail_batch",
        "SCAN mail_delivery USING INDEX ix_mail_delivery_leased",
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_statement_has_its_form_for_postgresql(name: str) -> None:
    statement = getattr(Statements(postgresql.dialect()), name)
    assert "json_each" not in statement.text
    assert ("RETURNING" in statement.text) == (name == "finish")


def test_on_postgresql_workers_pass_by_what_another_is_claiming() -> None:
    text = Statements(postgresql.dialect()).candidates.text
    assert text.endswith("FOR UPDATE SKIP LOCKED")


def test_a_statement_is_compiled_once_a_dialect(store: Store) -> None:
    assert of_sqlite(store, "claim") is of_sqlite(store, "claim")


def test_a_sends_indexes_are_only_those_that_it_needs() -> None:
    # Each one more is a page more that every send writes.
    indexes = {
        table.name: sorted(str(index.name) for index in table.indexes)
        for table in (tables.letter, tables.delivery, tables.recipient)
    }
    assert indexes == {
        "mail_letter": [],
        "mail_delivery": [
            "ix_mail_delivery_attention",
            "ix_mail_delivery_leased",
            "ix_mail_delivery_live",
        ],
        "mail_recipient": ["ix_mail_recipient_address", "ix_mail_recipient_remote_id"],
    }
