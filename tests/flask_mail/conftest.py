"""An application that sends in the view, as Flask-Mail's do, to a server that does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from flask_outbox import Mail, Message
from servers.scripted import ScriptedServer


def message(**fields: Any) -> Message:
    return Message(**{"subject": "Hello", "recipients": ["you@example.org"], "body": "Hi"} | fields)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def immediate(app: Flask) -> Iterator[Callable[..., Mail]]:
    """Makes the application's Mail with the immediate engine, within an application context."""

    def make(server: ScriptedServer | None = None, kind: type[Mail] = Mail, **config: Any) -> Mail:
        app.config.update(MAIL_ENGINE="immediate", MAIL_SERVER="127.0.0.1")
        app.config.update(MAIL_PORT=server.port if server else 1, **config)
        return kind(app)

    with app.app_context():
        yield make
    if desk := app.extensions.get("flask_outbox"):
        desk.close()
