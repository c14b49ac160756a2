"""From the settings to the task queue of an application, with errors that name the cure."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from flask import Flask
from huey import MemoryHuey

from flask_outbox import Mail, tasks
from flask_outbox.errors import ConfigurationError


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """One that can be imported, and has a queue."""
    module = ModuleType("shop_tasks")
    module.huey = MemoryHuey("of the path")  # type: ignore[attr-defined]
    module.more = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop_tasks", module)
    return module


@pytest.fixture
def ready(app: Flask) -> Iterator[Flask]:
    """An application to be given its mail."""
    app.config["MAIL_ENGINE"] = "huey"
    yield app
    if "flask_outbox" in app.extensions:
        app.extensions["flask_outbox"].close()


def found(app: Flask) -> Any:
    return app.extensions["flask_outbox"].wiring.tasks.queue.find()


# -- the queue -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["shop_tasks:huey", " shop_tasks:more.huey "])
def test_the_queue_may_be_named_by_its_import_path(
    ready: Flask, module: ModuleType, path: str
) -> None:
    ready.config["MAIL_TASK_QUEUE"] = path
    Mail(ready)
    assert found(ready) is module.huey


@pytest.mark.parametrize("path", ["nowhere:huey", "shop_tasks:celery", "shop_tasks", ":huey"])
def test_a_path_that_leads_nowhere_is_an_error_of_its_setting(
    ready: Flask, module: ModuleType, path: str
) -> None:
    ready.config["MAIL_TASK_QUEUE"] = path
    with pytest.raises(ConfigurationError, match=r"'MAIL_TASK_QUEUE' must be .*'module:name'"):
        Mail(ready)


def test_the_queue_is_the_extension_under_its_name_where_nothing_is_said(ready: Flask) -> None:
    ready.extensions["huey"] = huey = MemoryHuey()
    Mail(ready)
    assert found(ready) is huey


def test_the_queue_of_the_setting_goes_before_the_extension(ready: Flask) -> None:
    ready.extensions["huey"], ready.config["MAIL_TASK_QUEUE"] = MemoryHuey(), (mine := MemoryHuey())
    Mail(ready)
    assert found(ready) is mine


def test_a_queue_that_is_not_there_yet_may_come_later(ready: Flask) -> None:
    Mail(ready)
    assert found(ready) is None
    ready.extensions["huey"] = huey = MemoryHuey()
    assert found(ready) is huey


# -- the engine ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["celery", "rq", "dramatiq", "huey"])
def test_an_engine_whose_package_is_missing_names_its_extra(
    ready: Flask, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == engine] or [engine]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"flask_outbox.engines.{engine}", raising=False)
    ready.config["MAIL_ENGINE"] = engine
    with pytest.raises(
        ConfigurationError,
        match=rf"needs the extra '{engine}': pip install 'flask-outbox\[{engine}\]'",
    ):
        Mail(ready)


def test_no_queue_is_loaded_where_none_is_named(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {f"flask_outbox.engines.{name}" for name in ("celery", "rq", "dramatiq", "huey")}
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)
    Mail(app)
    assert not modules & sys.modules.keys()


# -- what tasks call -------------------------------------------------------------------------------------------


def test_a_task_outside_of_any_application_is_told_to_name_one() -> None:
    with pytest.raises(ConfigurationError, match="No application is current: name it"):
        tasks.deliver([])


def test_an_application_without_mail_cannot_do_a_task() -> None:
    with pytest.raises(ConfigurationError, match=r"Mail\(app\) was not called for it"):
        tasks.deliver([], Flask(__name__))


def test_an_application_whose_mail_no_queue_sends_cannot_either(app: Flask, mail: Mail) -> None:
    with pytest.raises(ConfigurationError, match="With MAIL_ENGINE='outbox' no task queue sends"):
        tasks.relay(app)


def test_a_letter_in_a_task_is_refused_where_letters_are_stored(ready: Flask) -> None:
    Mail(ready)
    with pytest.raises(ConfigurationError, match="MAIL_OUTBOX_URL=None makes: set it here"):
        tasks.deliver_letter("{}", ready)


def test_hosts_are_equal_where_their_application_is(ready: Flask) -> None:
    Mail(ready)
    first = ready.extensions["flask_outbox"].wiring.tasks.queue.host
    ready.config["MAIL_TIMEOUT"] = 5
    ready.extensions["mail"].suppress = not ready.extensions["mail"].suppress
    Mail(ready)
    second = ready.extensions["flask_outbox"].wiring.tasks.queue.host
    assert first == second
    assert first is not second
    assert not first.is_current
    with first.context():
        assert second.is_current
