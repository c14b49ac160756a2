"""Which database a session's is."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url

from flask_outbox.ledger.joining import home, same_server


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("postgresql://db/shop", "postgresql+psycopg2://db:5432/shop"),
        ("postgresql://me:secret@db/shop", "postgresql://you@db/shop"),
        ("postgresql://127.0.0.1/shop", "postgresql://localhost/shop"),
        ("postgresql:///shop?host=/run", "postgresql+asyncpg:///shop?host=/run"),
        ("mysql+pymysql://db/shop", "mysql+aiomysql://db:3306/shop"),
    ],
)
def test_it_is_the_same_whatever_the_driver_and_the_user(one: str, other: str) -> None:
    assert same_server(make_url(one), make_url(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("postgresql://db/shop", "postgresql://db/mail"),
        ("postgresql://db/shop", "postgresql://other/shop"),
        ("postgresql://db/shop", "postgresql://db:5433/shop"),
        ("postgresql://db:3306/shop", "mysql://db/shop"),
        ("sqlite:///shop.sqlite", "sqlite:///shop.sqlite"),
    ],
)
def test_it_is_another(one: str, other: str) -> None:
    assert not same_server(make_url(one), make_url(other))


@pytest.mark.parametrize(
    ("url", "at"),
    [
        ("postgresql+psycopg2://me:secret@db/shop", "postgresql+psycopg2://me:secret@db/shop"),
        ("postgresql+asyncpg://db/shop", "postgresql+psycopg://db/shop"),
        ("mysql+aiomysql://db/shop", "mysql+pymysql://db/shop"),
        ("sqlite:///shop.sqlite", None),
        ("oracle://db/shop", None),
    ],
)
def test_the_outbox_is_at_home_in_a_server_by_a_driver_for_threads(
    url: str, at: str | None
) -> None:
    assert home(make_url(url)) == at
