"""Sessions for coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import flask_sqlalchemy_lite
import pytest
from flask import Flask
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from flask_outbox import Mail, MessageError, Receipt
from joining.shop import Person, Shop, message

pytestmark = pytest.mark.only("postgresql+psycopg")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[AsyncSession]:
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=1)
    async with async_sessionmaker(engine)() as session:
        yield session
    await engine.dispose()


def outcome(shop: Shop, end: Callable[[AsyncSession], object]) -> tuple[Receipt, list[str]]:
    """What comes of a message that joins, and what is stored before it is known."""

    async def run() -> tuple[Receipt, list[str]]:
        url = shop.engine.url.render_as_string(hide_password=False)
        async with opened(url) as session:
            session.add(Person(name="Ann"))
            receipt = await shop.mail.send_async(message(), session=session)
            before = shop.stored()
            await end(session)  # type: ignore[misc]
            return receipt, before

    with shop.app.app_context():
        return asyncio.run(run())


def test_a_commit_stores(shop: Shop) -> None:
    receipt, before = outcome(shop, lambda session: session.commit())
    with shop.app.app_context():
        assert (before, receipt.durable, shop.stored()) == ([], True, ["Hello"])


def test_a_rollback_does_not(shop: Shop) -> None:
    receipt, before = outcome(shop, lambda session: session.rollback())
    with shop.app.app_context():
        assert (before, receipt.durable, shop.stored()) == ([], False, [])


def test_send_does_not_take_one(shop: Shop) -> None:
    async def run() -> None:
        async with opened(shop.engine.url.render_as_string(hide_password=False)) as session:
            shop.send(session=session)

    with shop.app.app_context(), pytest.raises(MessageError, match="AsyncSession"):
        asyncio.run(run())


def test_send_joins_within_run_sync(shop: Shop) -> None:
    async def run() -> Receipt:
        async with opened(shop.engine.url.render_as_string(hide_password=False)) as session:
            receipt = await session.run_sync(lambda inside: shop.send(session=inside))
            assert not receipt.durable
            await session.commit()
            return receipt

    with shop.app.app_context():
        assert asyncio.run(run()).durable


@pytest.mark.only("sqlite", "postgresql+psycopg", "mysql+pymysql")
def test_send_async_joins_a_session_for_threads(shop: Shop) -> None:
    async def run() -> Receipt:
        shop.session.add(Person(name="Ann"))
        receipt = await shop.mail.send_async(message())
        assert not receipt.durable
        shop.session.commit()
        return receipt

    with shop.app.app_context():
        assert asyncio.run(run()).durable
        assert shop.stored() == ["Hello"]


def test_the_applications_own_is_joined_where_it_holds_changes(
    database: str, tmp_path: Path, shop: Shop
) -> None:
    app = Flask("async", instance_path=str(tmp_path))
    app.config.update(SQLALCHEMY_ASYNC_ENGINES={"default": database}, MAIL_WORKER="external")
    db = flask_sqlalchemy_lite.SQLAlchemy()
    db.init_app(app)
    mail = Mail(app, db=db)

    @app.get("/")
    async def index() -> list[bool]:
        receipts = [await mail.send_async(message("Reading"))]
        db.async_session.add(Person(name="Ann"))
        await db.async_session.flush()
        receipts.append(await mail.send_async(message("Changing")))
        before = [receipt.durable for receipt in receipts]
        await db.async_session.commit()
        await db.async_session.close()
        await db.async_engine.dispose()
        return [*before, receipts[1].durable]

    assert app.test_client().get("/").json == [True, False, True]
    app.extensions["flask_outbox"].close()
    with shop.app.app_context():
        assert shop.stored() == ["Changing", "Reading"]
