"""Celery sends the mail, on Redis and on RabbitMQ."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import amqp
import pytest
import redis
from celery import Celery
from flask import Flask

from flask_outbox import Message
from journeys.accounting import AccountingServer, When
from servers.process import Process, wait_until
from task_queues.contract import Contract, send, wait_for_end
from task_queues.workplace import Workplace

#: Celery itself would take its "app".
APPLICATION = "task_queues.celery_application"


class CeleryWorkplace(Workplace):
    engine = "celery"

    #: Of ``celery worker``.
    pool = ("-P", "prefork", "-c", "2")

    def commands(self) -> list[list[str]]:
        worker = [sys.executable, "-m", "celery", "-A", f"{APPLICATION}:celery_app", "worker"]
        return [[*worker, *self.pool, "--without-gossip", "--without-mingle", "-l", "INFO"]]

    def queue(self, name: str) -> Celery:
        celery = Celery(name, broker=self.place, set_as_current=False)
        celery.conf.task_default_queue = "celery" if name == "mail" else name
        return celery

    def greet(self, queue: Celery, address: str) -> None:
        self.call(queue, "greet", address)

    def call(self, queue: Celery, name: str, *args: Any) -> None:
        """Put any task on it."""
        with queue.connection_for_write() as connection:
            queue.send_task(name, args, connection=connection, ignore_result=True)

    @property
    def log(self) -> str:
        """What its workers have said."""
        return (self.folder / "workers.log").read_text(errors="replace")

    @property
    def worker(self) -> Process:
        (worker,) = self._workers
        return worker

    @property
    def children(self) -> list[int]:
        """The processes of its worker that run the tasks."""
        pid = self.worker.pid
        return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


class OnRedis(CeleryWorkplace):
    def waiting(self, queue: Celery) -> int:
        with redis.Redis.from_url(self.place) as client:
            return int(client.llen(queue.conf.task_default_queue))

    def flush(self, queue: Celery) -> None:
        with redis.Redis.from_url(self.place) as client:
            client.delete(queue.conf.task_default_queue)


class OnRabbitMQ(CeleryWorkplace):
    @property
    def address(self) -> str:
        return self.place.removeprefix("amqp://guest:guest@").rstrip("/")

    def waiting(self, queue: Celery) -> int:
        with amqp.Connection(self.address) as connection, suppress(amqp.NotFound):
            declared = connection.channel().queue_declare(
                queue.conf.task_default_queue, passive=True
            )
            return int(declared.message_count)
        return 0

    def flush(self, queue: Celery) -> None:
        with amqp.Connection(self.address) as connection:
            connection.channel().queue_purge(queue.conf.task_default_queue)


class TestCelery(Contract):
    @pytest.fixture(scope="class", params=["redis", "rabbitmq"])
    @classmethod
    def workplace(
        cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[CeleryWorkplace]:
        kind, server = OnRedis, "redis_server"
        if request.param == "rabbitmq":
            kind, server = OnRabbitMQ, "rabbitmq"
        broker = request.getfixturevalue(server)
        smtp: AccountingServer = request.getfixturevalue("smtp")
        workplace = kind(tmp_path_factory.mktemp("celery"), smtp.port, broker.url)
        yield workplace
        workplace.close()
        broker.flush() if request.param == "redis" else broker.clear()

    @pytest.mark.usefixtures("forgotten")
    def test_a_task_of_the_user_may_be_given_a_message(
        self, server: AccountingServer, workplace: CeleryWorkplace, queue: Celery
    ) -> None:
        before = server.count
        message = Message("Hello", recipients=["you@example.org"], body="Hello.")
        workplace.call(queue, "send", message.to_dict())
        wait_until(lambda: server.count == before + 1, "message")

    @pytest.mark.usefixtures("forgotten")
    def test_receivers_of_signals_are_within_the_application(
        self, workplace: CeleryWorkplace, app: Flask
    ) -> None:
        receipt = send(app)
        said = f"{receipt.message_id} was sent"
        wait_until(lambda: said in workplace.log, "receiver that was called")

    @pytest.mark.usefixtures("forgotten")
    def test_what_is_sent_later_or_again_is_never_kept_by_the_broker(
        self, server: AccountingServer, workplace: CeleryWorkplace, app: Flask
    ) -> None:
        """Celery names the time of a task that it is to keep."""
        failures = iter([When.FAREWELL] * 2)
        server.on_step = lambda step: next(failures, None) if step == "MAIL" else None
        wait_for_end(app, send(app, delay=timedelta(seconds=0.2)))
        assert "flask_outbox.deliver" in workplace.log
        assert "ETA:" not in workplace.log

    @pytest.mark.usefixtures("forgotten")
    def test_what_is_put_into_the_queue_by_hand_is_sent(self, app: Flask) -> None:
        mail = app.extensions["mail"]
        with app.app_context():
            held, cancelled = (
                send(app, delay=timedelta(seconds=0.1)),
                send(app, delay=timedelta(hours=1)),
            )
            assert mail.hold(held.id)
            assert mail.release(held.id)
            assert mail.cancel(cancelled.id)
            assert mail.retry(cancelled.id)
        wait_for_end(app, held)
        wait_for_end(app, cancelled)

    @pytest.mark.usefixtures("forgotten")
    def test_a_batch_is_sent_when_all_of_it_is_there(
        self, server: AccountingServer, app: Flask
    ) -> None:
        before = server.count
        with app.app_context():
            messages = (
                Message(f"Number {n}", recipients=[f"user{n}@example.org"], body="Hello.")
                for n in range(250)
            )
            batch = app.extensions["mail"].send_many(messages, atomic=True)
        wait_until(lambda: server.count == before + batch.count, "batch")

    @pytest.mark.usefixtures("forgotten")
    def test_what_a_killed_child_was_sending_is_sent_again_alike(
        self, server: AccountingServer, workplace: CeleryWorkplace, app: Flask
    ) -> None:
        """The worker lives; what had its connections may have copies, the rest has one."""
        before, killed = server.count, []

        def kill(count: int) -> None:
            if count >= before + 50 and not killed:
                killed.extend(workplace.children)
                for child in killed:
                    os.kill(child, signal.SIGKILL)

        server.on_content = kill
        receipts = [send(app) for _ in range(200)]
        for receipt in receipts:
            wait_for_end(app, receipt)
        copies = [server.copies[receipt.message_id] for receipt in receipts]
        assert killed
        assert all(len(set(of_one)) == 1 for of_one in copies)
        assert sum(len(of_one) - 1 for of_one in copies) <= len(killed) * (2 + 20)
