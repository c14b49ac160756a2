"""What every test can ask for, and how Hypothesis searches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings

from flask_outbox import Mail

pytest_plugins = ["servers.plugin", "servers.databases"]

# A busy machine is no counterexample; and what CI finds, it finds again.
settings.register_profile(
    "project",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("project")


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """An application that stores mail in a folder of its own, and delivers none."""
    app = Flask(__name__, instance_path=str(tmp_path / "instance"))
    app.config.update(MAIL_DEFAULT_SENDER="app@example.org", MAIL_WORKER="external")
    return app


@pytest.fixture
def mail(app: Flask) -> Iterator[Mail]:
    """Its mail, within an application context."""
    mail = Mail(app)
    with app.app_context():
        yield mail
    app.extensions["flask_outbox"].close()
