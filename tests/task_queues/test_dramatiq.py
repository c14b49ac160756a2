"""Dramatiq sends the mail, on Redis and on RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq import Broker, Message, Middleware, Worker
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from flask import Flask

from flask_outbox.errors import ConfigurationError
from journeys.accounting import AccountingServer
from servers.redis import Redis
from task_queues.conftest import Make
from task_queues.contract import Contract, fail, send, wait_for_end
from task_queues.workplace import Workplace


class OnRedis(Workplace):
    engine = "dramatiq"

    def commands(self) -> list[list[str]]:
        return [["dramatiq", "task_queues.dramatiq_application", "-p", "2", "-t", "2"]]

    def queue(self, name: str) -> Any:
        return RedisBroker(url=self.place, namespace="dramatiq" if name == "mail" else name)

    def waiting(self, queue: Any) -> int:
        return int(queue.do_qsize("default"))

    def flush(self, queue: Any) -> None:
        queue.flush_all()

    def greet(self, queue: Any, address: str) -> None:
        queue.enqueue(Message("default", "greet", (address,), {}, {}))


class OnRabbitMQ(OnRedis):
    def __init__(self, folder: Path, smtp_port: int, place: str) -> None:
        super().__init__(folder, smtp_port, f"{place.rstrip('/')}/%2F")  # as pika names it
        self._names: dict[RabbitmqBroker, str] = {}

    def queue(self, name: str) -> Any:
        broker = RabbitmqBroker(url=self.place)
        self._names[broker] = "default" if name == "mail" else name
        return broker

    def app(self, queue: Any, **settings: Any) -> Flask:
        options = {"queue_name": self._names[queue]}
        return super().app(queue, MAIL_TASK_OPTIONS=options, **settings)

    def waiting(self, queue: Any) -> int:
        return int(queue.get_queue_message_counts(self._names[queue])[0])

    def close(self) -> None:
        super().close()
        for broker in self._names:
            broker.close()


class TestDramatiq(Contract):
    @pytest.fixture(scope="class", params=[(OnRedis, "redis_server"), (OnRabbitMQ, "rabbitmq")])
    @classmethod
    def workplace(
        cls,
        request: pytest.FixtureRequest,
        tmp_path_factory: pytest.TempPathFactory,
        smtp: AccountingServer,
    ) -> Iterator[OnRedis]:
        of, server = request.param
        place = request.getfixturevalue(server).url
        workplace: OnRedis = of(tmp_path_factory.mktemp("dramatiq"), smtp.port, place)
        yield workplace
        workplace.close()


class Seen(Middleware):
    """What is put on a broker."""

    def __init__(self) -> None:
        self.messages: list[Message[Any]] = []

    def after_enqueue(self, broker: Broker, message: Message[Any], delay: int | None) -> None:
        self.messages.append(message)


@pytest.fixture
def client(redis_server: Redis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client
    redis_server.flush()


@contextmanager
def working(broker: Broker) -> Iterator[None]:
    """Within it, a worker runs in this process."""
    worker = Worker(broker, worker_timeout=20, worker_threads=1)
    worker.start()
    yield
    worker.stop()


def test_without_an_outbox_the_task_is_tried_again_and_its_result_kept(
    make: Make, smtp_here: AccountingServer, client: redis.Redis
) -> None:
    broker, seen = RedisBroker(client=client, namespace="letters"), Seen()
    backend = RedisBackend(client=client, namespace="results")
    broker.add_middleware(Results(backend=backend))
    broker.add_middleware(seen)
    app = make("dramatiq", broker, MAIL_OUTBOX_URL=None)
    fail(smtp_here, 1)
    with working(broker):
        receipt = send(app)
        result = backend.get_result(seen.messages[0], block=True, timeout=20_000)
    assert not receipt.durable
    assert smtp_here.count == 1
    assert (result["id"], result["state"]) == (receipt.id, "sent")
    assert result["recipients"]["you@example.org"]["code"] == 250
    # Each delayed message comes twice: to the queue of the delayed ones, and from there to its own.
    assert len({message.message_id for message in seen.messages}) == 1


def test_without_a_backend_a_result_is_not_missed(make: Make, smtp_here: AccountingServer) -> None:
    """Nor is a middleware that a broker may not have."""
    broker = StubBroker(middleware=[])
    app = make("dramatiq", broker, MAIL_OUTBOX_URL=None)
    with working(broker):
        send(app)
        broker.join("default")
    assert smtp_here.count == 1


def test_the_broker_may_be_the_one_that_dramatiq_has_for_all(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = StubBroker()
    monkeypatch.setattr("dramatiq.broker.global_broker", broker)
    app = make("dramatiq", None)
    assert "flask_outbox.deliver" in dramatiq.get_broker().actors
    with working(broker):
        wait_for_end(app, send(app))


def test_a_broker_that_comes_later_is_found_when_something_is_sent(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dramatiq.broker.global_broker", None)
    app, broker = make("dramatiq", None), StubBroker()
    dramatiq.set_broker(broker)
    with working(broker):
        wait_for_end(app, send(app))


def test_options_are_those_of_the_priority(make: Make) -> None:
    broker, seen = StubBroker(), Seen()
    broker.add_middleware(seen)
    options = {"time_limit": 60_000, "high": {"queue_name": "first"}}
    app = make("dramatiq", broker, MAIL_TASK_OPTIONS=options)
    assert broker.get_declared_queues() >= {"default", "first"}
    with working(broker):
        for priority in ("high", "normal"):
            wait_for_end(app, send(app, priority=priority))
    found = [(message.queue_name, message.options["time_limit"]) for message in seen.messages]
    assert found == [("first", 60_000), ("default", 60_000)]


def test_a_failure_is_the_relays_to_mend_and_not_dramatiqs(make: Make) -> None:
    """The task of an outbox that cannot be used is not tried again by itself."""
    broker = StubBroker()
    app = make("dramatiq", broker)
    with working(broker):
        broker.get_actor("flask_outbox.deliver").send(["not an id"])
        broker.join("default", fail_fast=True)
        make("dramatiq", broker)
        broker.get_actor("flask_outbox.deliver").send(["whose?"])
        with pytest.raises(ConfigurationError, match="more than one application"):
            broker.join("default", fail_fast=True)
    assert len(broker.dead_letters) == 1
    assert app is not None


def test_what_is_no_broker_is_refused_at_once(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="'MAIL_TASK_QUEUE' must be a broker of Dramatiq"):
        make("dramatiq", "os:environ")
