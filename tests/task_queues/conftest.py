"""Applications whose mail a queue sends by workers of this process, or at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_outbox import Mail
from journeys.accounting import AccountingServer

Make = Callable[..., Flask]


@pytest.fixture
def smtp_here() -> Iterator[AccountingServer]:
    with AccountingServer() as server:
        yield server


@pytest.fixture
def make(tmp_path: Path, smtp_here: AccountingServer) -> Iterator[Make]:
    """Make an application, by the settings that it has besides."""
    with ExitStack() as ending:

        def make(engine: str, queue: Any, **settings: Any) -> Flask:
            return ending.enter_context(_app(engine, queue, tmp_path, smtp_here.port, settings))

        yield make


@contextmanager
def _app(
    engine: str, queue: Any, folder: Path, port: int, settings: dict[str, Any]
) -> Iterator[Flask]:
    app = Flask(__name__, instance_path=str(folder / engine))
    app.config.update(
        MAIL_ENGINE=engine,
        MAIL_TASK_QUEUE=queue,
        MAIL_URL=f"smtp://127.0.0.1:{port}?pool=2",
        MAIL_DEFAULT_SENDER="app@example.org",
        MAIL_RETRY_DELAYS=[0.05],
        **settings,
    )
    Mail(app)
    yield app
    app.extensions["flask_outbox"].close()
