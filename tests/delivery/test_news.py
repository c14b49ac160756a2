"""The bell of PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from delivery.conftest import letter, put
from flask_outbox.delivery.loop import ThreadQueue
from flask_outbox.delivery.news import News
from flask_outbox.ledger.notifications import Notifications
from flask_outbox.ledger.store import Store

Sending = Callable[[int], Awaitable[None]]


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    store = Store(database)
    yield store
    store.dispose()


def listening(
    store: Store, until: Callable[[asyncio.Queue[None], Sending], Awaitable[None]]
) -> None:
    """Run something while the bell is listened to; it gets the wakes, and how to send."""

    async def run() -> None:
        loop, woken = asyncio.get_running_loop(), asyncio.Queue[None]()
        news, sql = News(Notifications(store.database, store.env)), ThreadQueue("sends")

        async def send(number: int) -> None:
            await sql.run(put, store, letter(number))

        news.listen(loop, lambda: woken.put_nowait(None))
        try:
            async with asyncio.timeout(20):
                await until(woken, send)
        finally:
            news.deafen(loop)
            sql.stop()
            await asyncio.sleep(0)

    asyncio.run(run())


@pytest.mark.only("postgresql+psycopg", "postgresql+psycopg2")
def test_a_send_wakes_the_listener(store: Store) -> None:
    async def until(woken: asyncio.Queue[None], send: Sending) -> None:
        await woken.get()  # it listens now
        for number in (1, 2):
            await send(number)
            await woken.get()

    listening(store, until)


@pytest.mark.only("sqlite")
def test_a_database_that_tells_nothing_is_left_to_the_poll(store: Store) -> None:
    async def until(woken: asyncio.Queue[None], send: Sending) -> None:
        await send(1)
        assert woken.empty()

    listening(store, until)
