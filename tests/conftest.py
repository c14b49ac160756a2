"""What every test can ask for, and how Hypothesis searches."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings

from flask_outbox import Mail

# The folders whose modules assert something for the tests: where it does not hold, they too say what they saw.
pytest.register_assert_rewrite(
    "campaign",
    "injection",
    "journeys",
    "libraries",
    "mail",
    "servers",
    "task_queues",
    "transports",
    "ways",
)

pytest_plugins = ["servers.plugin", "servers.databases"]

# A busy machine is no counterexample; and what CI finds, it finds again.
settings.register_profile(
    "project",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("project")


def pytest_configure(config: pytest.Config) -> None:
    """Each of the many processes would compile everything again, where nothing may be written beside the code."""
    if sys.dont_write_bytecode:
        os.environ["PYTHONDONTWRITEBYTECODE"] = ""
        os.environ["PYTHONPYCACHEPREFIX"] = str(config.rootpath / ".pytest_cache/bytecode")


def pytest_collection_finish() -> None:
    """What is here now stays until the end: it need not be gone through whenever there is garbage."""
    gc.collect()
    gc.freeze()


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
