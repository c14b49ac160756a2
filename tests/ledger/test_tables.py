"""The tables can be made wherever an outbox may live one day."""

from __future__ import annotations

import pytest
from sqlalchemy import Text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from flask_outbox.ledger.tables import metadata, prepare_for

DIALECTS = [sqlite.dialect(), postgresql.dialect(), mysql.dialect()]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_every_table_and_index_has_its_form_in_every_dialect(dialect: Dialect) -> None:
    for table in metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))


def test_every_table_carries_the_prefix() -> None:
    assert {name.partition("_")[0] for name in metadata.tables} == {"mail"}


def test_every_key_has_a_length_that_mysql_can_index() -> None:
    for table in metadata.sorted_tables:
        indexed = [*table.primary_key.columns, *(c for i in table.indexes for c in i.columns)]
        for column in indexed:
            assert not isinstance(column.type, Text)
            assert 4 * (getattr(column.type, "length", None) or 0) <= 3_072  # bytes, in utf8mb4


@pytest.mark.parametrize("dialect", DIALECTS[:2], ids=lambda dialect: dialect.name)
def test_the_live_index_holds_only_what_may_be_claimed(dialect: Dialect) -> None:
    (live,) = (i for i in metadata.tables["mail_delivery"].indexes if str(i.name).endswith("live"))
    if dialect.name == "postgresql":
        prepare_for("postgresql")
    made = str(CreateIndex(live).compile(dialect=dialect))
    assert made.endswith("(env, lane, priority, due) WHERE state IN ('queued', 'sending')")


def test_mysql_keeps_contents_that_are_larger_than_its_small_blobs() -> None:
    made = str(CreateTable(metadata.tables["mail_blob"]).compile(dialect=mysql.dialect()))
    assert "data BLOB(4294967295)" in made
