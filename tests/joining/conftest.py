"""A shop in each database: in PostgreSQL with its outbox, with SQLite beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from joining.shop import EXTENSIONS, Shop


@pytest.fixture
def open_shop(database: str, tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    """Make a shop with other settings, or by the other extension."""
    shops: list[Shop] = []

    def make(extension: str = EXTENSIONS[0], **settings: object) -> Shop:
        url = database
        if database.startswith("sqlite"):
            url = f"sqlite:///{tmp_path}/shop.sqlite"
            settings["MAIL_OUTBOX_URL"] = database
        shops.append(Shop(url, tmp_path, extension, **settings))
        return shops[-1]

    yield make
    for shop in shops:
        shop.close()


@pytest.fixture
def shop(open_shop: Callable[..., Shop]) -> Shop:
    return open_shop()
