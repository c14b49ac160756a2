"""What is told of a send: after its commit, and only then."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from flask_outbox.errors import OutboxError
from flask_outbox.ledger.notifications import Notifications
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Terms
from ledger.conftest import NOW, beside, letter, put
from servers.postgres import Postgres

pytestmark = pytest.mark.only("postgresql+psycopg", "postgresql+psycopg2")


@pytest.fixture
def news(store: Store) -> Iterator[Notifications]:
    news = Notifications(store.database, "")
    yield news
    news.close()


def readable(descriptor: int, seconds: float = 10) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def test_a_send_is_told(store: Store, news: Notifications) -> None:
    descriptor = news.open()
    assert descriptor is not None
    put(store, 1)
    assert readable(descriptor)
    assert news.heard()


def test_news_is_heard_once(store: Store, news: Notifications) -> None:
    descriptor = news.open()
    assert descriptor is not None
    put(store, 1)
    assert readable(descriptor)
    news.heard()
    assert not news.heard()


def test_a_joined_send_is_told_at_its_commit(store: Store, news: Notifications) -> None:
    descriptor = news.open()
    assert descriptor is not None
    with store.database.transaction() as connection:
        store.enqueue(connection, [(letter(1), Terms())], NOW)
        assert not readable(descriptor, 0)
    assert readable(descriptor)


def test_what_is_rolled_back_is_told_to_nobody(store: Store, news: Notifications) -> None:
    descriptor = news.open()
    assert descriptor is not None
    with store.database.transaction() as connection:
        store.enqueue(connection, [(letter(1), Terms())], NOW)
        connection.rollback()
    put(store, 2)  # which is told, and alone
    assert readable(descriptor)
    assert news.heard()
    assert not news.heard()


def test_the_news_of_another_environment_is_none(store: Store, news: Notifications) -> None:
    descriptor = news.open()
    assert descriptor is not None
    staging = beside(store, "staging")
    put(staging, 1)
    staging.dispose()
    assert readable(descriptor)
    assert not news.heard()


def test_a_server_that_was_restarted_is_noticed(
    store: Store, news: Notifications, postgres: Postgres
) -> None:
    descriptor = news.open()
    assert descriptor is not None
    postgres.kill()
    postgres.start()

    def until_its_end() -> None:
        while readable(descriptor):  # what the server said last comes before
            news.heard()

    with pytest.raises(OutboxError):
        until_its_end()
