"""RQ sends the mail, with Flask-RQ and without."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import pytest
import redis
from flask import Flask
from flask_rq import RQ
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.registry import ScheduledJobRegistry
from rq.scheduler import RQScheduler

from flask_outbox.engines import rq as engine
from flask_outbox.errors import BrokerError, ConfigurationError
from journeys.accounting import AccountingServer
from servers.process import wait_until
from servers.redis import Redis
from task_queues.conftest import Make
from task_queues.contract import Contract, fail, send, wait_for_end
from task_queues.workplace import Workplace


class RqWorkplace(Workplace):
    engine = "rq"
    module = "task_queues.rq_application"

    def commands(self) -> list[list[str]]:
        worker = ["rq", "worker", "-c", self.module, "--url", self.place]
        return [worker, ["flask", "--app", self.module, "mail", "relay"]]

    def queue(self, name: str) -> Queue:
        name = "default" if name == "mail" else name
        return Queue(name, redis.Redis.from_url(self.place))

    def waiting(self, queue: Queue) -> int:
        return queue.count

    def flush(self, queue: Queue) -> None:
        queue.empty()

    def greet(self, queue: Queue, address: str) -> None:
        queue.enqueue(f"{self.module}.greet", address)


class TestRq(Contract):
    @pytest.fixture(scope="class")
    @classmethod
    def workplace(
        cls,
        tmp_path_factory: pytest.TempPathFactory,
        smtp: AccountingServer,
        redis_server: Redis,
    ) -> Iterator[Workplace]:
        workplace = RqWorkplace(tmp_path_factory.mktemp("rq"), smtp.port, redis_server.url)
        yield workplace
        workplace.close()
        redis_server.flush()


@pytest.fixture
def client(redis_server: Redis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client
    redis_server.flush()


@pytest.fixture
def queue(client: redis.Redis) -> Queue:
    return Queue(connection=client)


def work(queue: Queue) -> None:
    """Do what is on the queue, in this process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    SimpleWorker([queue], connection=queue.connection).work(burst=True, logging_level="WARNING")
    for number, handler in handlers.items():
        signal.signal(number, handler)


def burst(workplace: Workplace, *command: str) -> None:
    """Do what is on the queue, in processes of their own."""
    env = {**os.environ, **workplace.env}
    subprocess.run([*command, "--burst"], env=env, check=True, timeout=60)


def test_what_a_work_horse_does_is_done_when_it_ends(
    tmp_path_factory: pytest.TempPathFactory,
    smtp_here: AccountingServer,
    redis_server: Redis,
    queue: Queue,
) -> None:
    """It ends without more ado: before, its connections are closed, and what a job of the user's sent is told."""
    steps: list[str] = []
    smtp_here.on_step = steps.append  # type: ignore[assignment]  # it answers None
    workplace = RqWorkplace(tmp_path_factory.mktemp("rq"), smtp_here.port, redis_server.url)
    app = workplace.app(queue)
    receipt = send(app)
    wait_until(lambda: queue.count == 1, "job")
    own = queue.enqueue("task_queues.rq_application.greet", "greeted@example.org")
    burst(workplace, *workplace.commands()[0])
    wait_for_end(app, receipt)
    assert smtp_here.count == 2
    assert steps.count("QUIT") == steps.count("GREETING")
    # Of the jobs only the user's is kept.
    assert queue.connection.keys("rq:job:*") == [f"rq:job:{own.id}".encode()]
    workplace.close()


def test_a_worker_of_flask_rq_sends(
    tmp_path_factory: pytest.TempPathFactory, smtp_here: AccountingServer, redis_server: Redis
) -> None:
    folder = tmp_path_factory.mktemp("flask-rq")
    workplace = RqWorkplace(folder, smtp_here.port, redis_server.url)
    app = workplace.app(None, RQ_CONNECTION=redis_server.url)
    RQ(app)
    receipt = send(app)
    burst(workplace, "flask", "--app", "task_queues.flask_rq_application", "rq", "worker")
    wait_for_end(app, receipt)
    workplace.close()
    redis_server.flush()


def test_a_worker_that_has_no_application_says_how_it_gets_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "_queues", WeakSet())
    with pytest.raises(ConfigurationError, match="'flask rq worker' of Flask-RQ, or by 'rq wor"):
        engine.deliver([])


def test_without_an_outbox_rq_tries_again_and_keeps_the_result(
    make: Make, smtp_here: AccountingServer, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    app = make("rq", queue, MAIL_OUTBOX_URL=None)
    fail(smtp_here, 1)
    receipt = send(app)
    work(queue)
    assert smtp_here.count == 0
    assert ScheduledJobRegistry(queue=queue).get_job_ids() == [receipt.id]
    assert "'rq worker --with-scheduler'" in caplog.text
    scheduler = RQScheduler([queue], queue.connection)
    scheduler.acquire_locks()

    def started() -> bool:
        scheduler.enqueue_scheduled_jobs()
        return queue.count == 1

    wait_until(started, "job of the second try")
    scheduler.release_locks()
    work(queue)
    result = Job.fetch(receipt.id, queue.connection).return_value()
    assert result["state"] == "sent"
    assert result["recipients"]["you@example.org"]["code"] == 250
    assert smtp_here.count == 1


def test_what_rq_logs_of_a_letter_does_not_show_it(make: Make, queue: Queue) -> None:
    receipt = send(make("rq", queue, MAIL_OUTBOX_URL=None))
    assert Job.fetch(receipt.id, queue.connection).description == "flask_outbox.deliver_letter"


def test_a_queue_that_runs_its_jobs_at_once_sends_without_a_worker(
    make: Make, client: redis.Redis
) -> None:
    """Each job finds its application."""
    queue = Queue(connection=client, is_async=False)
    one, other = make("rq", queue), make("rq", queue)
    for app in (one, other):
        wait_for_end(app, send(app))


def test_options_are_those_of_the_priority(make: Make, queue: Queue) -> None:
    options = {"job_timeout": 60, "high": {"queue": "first"}, "low": {"failure_ttl": 5}}
    app = make("rq", queue, MAIL_TASK_OPTIONS=options)
    first = Queue("first", queue.connection)
    for priority in ("high", "normal", "low"):
        send(app, priority=priority)
    app.extensions["flask_outbox"].close()
    jobs: list[Any] = [*first.jobs, *queue.jobs]
    assert [(job.timeout, job.failure_ttl) for job in jobs] == [(60, 86_400), (60, 86_400), (60, 5)]
    assert [job.origin for job in jobs] == ["first", "default", "default"]


def test_a_queue_of_flask_rq_is_named(make: Make, redis_server: Redis, client: redis.Redis) -> None:
    config = {"RQ_CONNECTION": redis_server.url, "RQ_QUEUES": ["mail"], "MAIL_OUTBOX_URL": None}
    app: Flask = make("rq", None, MAIL_TASK_OPTIONS={"queue": "mail"}, **config)
    RQ(app)
    send(app)
    assert Queue("mail", client).count == 1
    other: Flask = make("rq", None, **config)
    RQ(other)
    with pytest.raises(BrokerError, match="'RQ_QUEUES' has no 'default'"):
        send(other)


@pytest.mark.parametrize(
    ("given", "options", "problem"),
    [
        ("os:environ", {}, "'MAIL_TASK_QUEUE' must be an rq.Queue"),
        (None, {"countdown": 3}, "'MAIL_TASK_OPTIONS' has 'countdown', which is none of"),
        (None, {"low": {"job_id": "mine"}}, "'MAIL_TASK_OPTIONS' has 'job_id'"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    make: Make, given: Any, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        make("rq", given, MAIL_TASK_OPTIONS=options)


def test_redis_is_asked_for_a_sign_of_life(make: Make, queue: Queue) -> None:
    def check(app: Flask) -> str:
        return str(app.extensions["flask_outbox"].wiring.tasks.queue.check())

    assert check(make("rq", queue)) == "queue 'default', 0 wait"
    with pytest.raises(ConfigurationError, match="needs a queue"):
        check(make("rq", None))
