"""Huey sends the mail, on Redis and on SQLite."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from huey import Huey, MemoryHuey, RedisHuey, SqliteHuey

from flask_outbox.errors import ConfigurationError
from journeys.accounting import AccountingServer
from servers.process import wait_until
from servers.redis import Redis
from task_queues.conftest import Make
from task_queues.contract import Contract, fail, send, wait_for_end
from task_queues.workplace import Workplace


class HueyWorkplace(Workplace):
    engine = "huey"

    def commands(self) -> list[list[str]]:
        return [["huey_consumer", "task_queues.huey_application.huey", "-w", "2", "-k", "process"]]

    def queue(self, name: str) -> Huey:
        name = "huey" if name == "mail" else name
        if self.place.startswith("redis:"):
            return RedisHuey(name, url=self.place)
        return SqliteHuey(name, filename=self.place)

    def waiting(self, queue: Huey) -> int:
        return int(queue.pending_count())

    def flush(self, queue: Huey) -> None:
        queue.flush()

    def greet(self, queue: Huey, address: str) -> None:
        code = f"from task_queues.huey_application import greet; greet({address!r})"
        subprocess.run([sys.executable, "-c", code], env={**os.environ, **self.env}, check=True)


class TestHuey(Contract):
    @pytest.fixture(scope="class", params=["redis", "sqlite"])
    @classmethod
    def workplace(
        cls,
        request: pytest.FixtureRequest,
        tmp_path_factory: pytest.TempPathFactory,
        smtp: AccountingServer,
    ) -> Iterator[Workplace]:
        folder = tmp_path_factory.mktemp("huey")
        place = str(folder / "huey.sqlite")
        if request.param == "redis":
            redis: Redis = request.getfixturevalue("redis_server")
            place = redis.url
        workplace = HueyWorkplace(folder, smtp.port, place)
        yield workplace
        workplace.close()


@contextmanager
def working(huey: Huey) -> Iterator[None]:
    """Within it, a consumer runs in this process; as ``run`` has it, but for the signals."""
    consumer = huey.create_consumer(workers=1, periodic=False)
    threads = [consumer.scheduler, *(thread for _, thread in consumer.worker_threads)]
    for thread in threads:
        thread.start()
    yield
    consumer.stop_flag.set()
    for thread in threads:
        thread.join()


def results(huey: Huey) -> list[Any]:
    return [huey.serializer.deserialize(one) for one in huey.all_results().values()]


def test_without_an_outbox_huey_tries_again_and_keeps_the_result(
    make: Make, smtp_here: AccountingServer, tmp_path: Path
) -> None:
    huey = SqliteHuey(filename=str(tmp_path / "huey.sqlite"))
    app = make("huey", huey, MAIL_OUTBOX_URL=None)
    fail(smtp_here, 1)
    with working(huey):
        receipt = send(app)
        smtp_here.wait_for(1)
        wait_until(lambda: any("state" in result for result in results(huey)), "result")
    assert not receipt.durable
    assert smtp_here.count == 1
    [result] = results(huey)
    assert (result["id"], result["state"]) == (receipt.id, "sent")
    assert result["recipients"]["you@example.org"]["code"] == 250


def test_an_immediate_huey_sends_without_a_worker(make: Make) -> None:
    """Its tasks run where they are put on the queue, and each finds its application."""
    huey = MemoryHuey(immediate=True)
    one, other = make("huey", huey), make("huey", huey)
    for app in (one, other):
        wait_for_end(app, send(app))


def test_an_immediate_huey_sends_without_an_outbox(make: Make, smtp_here: AccountingServer) -> None:
    app = make("huey", MemoryHuey(immediate=True), MAIL_OUTBOX_URL=None)
    send(app)
    assert smtp_here.count == 1


def test_an_immediate_huey_says_that_nothing_is_tried_again(
    make: Make, smtp_here: AccountingServer, caplog: pytest.LogCaptureFixture
) -> None:
    huey = MemoryHuey(immediate=True)
    app = make("huey", huey, MAIL_OUTBOX_URL=None)
    fail(smtp_here, 1)
    send(app)
    assert "an immediate Huey has nothing that waits" in caplog.text
    assert [result["state"] for result in results(huey)] == ["queued"]


def test_options_are_those_of_the_priority(make: Make) -> None:
    huey = MemoryHuey()
    options = {"expires": 300, "high": {"priority": 10}, "low": {"expires": None}}
    app = make("huey", huey, MAIL_TASK_OPTIONS=options)
    for priority in ("high", "normal", "low"):
        send(app, priority=priority)
    wait_until(lambda: huey.pending_count() == 3, "tasks")
    found = [(task.priority, task.expires) for task in huey.pending()]
    assert found == [(10, 300), (None, 300), (None, None)]


@pytest.mark.parametrize(
    ("queue", "options", "problem"),
    [
        ("os:environ", {}, "'MAIL_TASK_QUEUE' must be a Huey"),
        (MemoryHuey(), {"queue": "mail"}, "'MAIL_TASK_OPTIONS' has 'queue', which is none of"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    make: Make, queue: Any, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        make("huey", queue, MAIL_TASK_OPTIONS=options)


def test_the_storage_is_asked_for_a_sign_of_life(make: Make) -> None:
    app: Flask = make("huey", MemoryHuey("shop"))
    queue = app.extensions["flask_outbox"].wiring.tasks.queue
    assert queue.check() == "MemoryHuey 'shop', 0 wait"
