"""A server that refuses, and a connection that breaks: what the error says, and that all goes on by itself after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from typing import Any

import psycopg
import pymysql
import pytest

from flask_outbox.errors import OutboxError
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Terms
from ledger.conftest import ACCEPTED, NOW, claim, ids, letter, put, result, stored
from servers.cutting import CuttingProxy
from servers.mariadb import MariaDB
from servers.postgres import Postgres

pytestmark = pytest.mark.only("postgresql+psycopg", "postgresql+psycopg2", "mysql+pymysql")


@pytest.fixture
def server(store: Store, request: pytest.FixtureRequest) -> Postgres | MariaDB:
    """That the outbox lives in."""
    mysql = store.database.url.get_backend_name() == "mysql"
    found: Postgres | MariaDB = request.getfixturevalue("mariadb" if mysql else "postgres")
    return found


@contextmanager
def few(server: MariaDB) -> Iterator[None]:
    """It allows as few connections as it can."""
    with server.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT @@global.max_connections")
        before = cursor.fetchone()
        cursor.execute("SET GLOBAL max_connections = 10")
        try:
            yield
        finally:
            cursor.execute("SET GLOBAL max_connections = %s", before)


@contextmanager
def all_taken(server: Postgres | MariaDB) -> Iterator[None]:
    """Nobody else may connect."""

    def connect() -> Any:
        if isinstance(server, MariaDB):
            return server.connect()
        return psycopg.connect(server.dsn("postgres"))

    with ExitStack() as taken:
        if isinstance(server, MariaDB):
            taken.enter_context(few(server))
        with suppress(psycopg.OperationalError, pymysql.OperationalError):
            while True:
                taken.enter_context(closing(connect()))
        yield


def test_a_server_without_a_connection_left_is_named_with_the_cure_and_then_the_next_send_works(
    store: Store, server: Postgres | MariaDB
) -> None:
    put(store, 1)
    store.dispose()
    with all_taken(server), pytest.raises(OutboxError, match=r"(?i)too many.*'max_connections'"):
        put(store, 2)
    put(store, 3)
    assert ids(claim(store)) == [1, 3]


def test_a_thread_waits_for_a_connection_of_its_process_and_then_is_told_why(store: Store) -> None:
    put(store, 1)
    store.database._ready().durable.pool._timeout = 0.01  # type: ignore[attr-defined]
    with ExitStack() as busy:
        for _ in range(15):
            busy.enter_context(store.database.glance())
        with pytest.raises(OutboxError, match="All 15 connections of this process"):
            put(store, 2)
    put(store, 3)
    assert ids(claim(store)) == [1, 3]


def test_a_full_disk_of_the_server_is_named_with_the_cure(store: Store) -> None:
    if store.database.url.get_backend_name() == "mysql":
        full = "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full'"
    else:
        full = (
            "DO $$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END $$"
        )
    with (
        pytest.raises(OutboxError, match=r"Free space on the disk of its server\."),
        store.database.direct() as line,
    ):
        line.exec_driver_sql(full)


@pytest.fixture
def cut(server: Postgres | MariaDB, store: Store) -> Iterator[tuple[Store, CuttingProxy]]:
    """The same outbox over a road that can be cut."""
    with CuttingProxy(server.port) as proxy:
        behind = Store(
            store.database.url.set(port=proxy.port).render_as_string(hide_password=False)
        )
        yield behind, proxy
        behind.dispose()


def test_a_send_whose_commit_is_not_answered_raises_may_be_stored_and_is_one_with_its_key(
    store: Store, cut: tuple[Store, CuttingProxy]
) -> None:
    sending, proxy = cut
    put(sending, 1)
    proxy.cut_behind(b"COMMIT")
    with pytest.raises(OutboxError):
        sending.add([(letter(2), Terms(key="welcome"))], NOW)
    assert proxy.cuts == 1
    assert stored(store, 2).state == "queued"
    again = replace(letter(2), id=letter(3).id, message_id=letter(3).message_id)
    assert sending.add([(again, Terms(key="welcome"))], NOW) == [letter(2).id]


def test_results_whose_commit_is_not_answered_are_written_down_once(
    store: Store, cut: tuple[Store, CuttingProxy]
) -> None:
    sending, proxy = cut
    put(sending, 1)
    done = [result(one, ACCEPTED) for one in claim(sending)]
    proxy.cut_behind(b"COMMIT")
    with pytest.raises(OutboxError):
        sending.finish(done, NOW)
    assert proxy.cuts == 1
    sending.finish(done, NOW)  # as the recorder does
    found = stored(store, 1)
    assert found.state == "sent"
    assert [one.lease_lost for one in found.attempts] == [False, True]


def test_a_claim_whose_commit_is_not_answered_is_made_again_when_its_lease_ends(
    cut: tuple[Store, CuttingProxy],
) -> None:
    sending, proxy = cut
    put(sending, 1)
    proxy.cut_behind(b"COMMIT")
    with pytest.raises(OutboxError):
        claim(sending)
    assert proxy.cuts == 1
    assert claim(sending) == []
    assert ids(claim(sending, now=NOW + 31)) == [1]
