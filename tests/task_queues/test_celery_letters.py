"""Without an outbox, Celery's tasks carry the letters: what is tried again, and that none of them is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Reject, Retry, SoftTimeLimitExceeded
from flask import Flask

from flask_outbox import Mail, Message
from flask_outbox.engines.celery import DELIVER_LETTER, MISFIT
from flask_outbox.engines.parcel import Parcel
from flask_outbox.errors import BrokerError
from journeys.accounting import AccountingServer, When
from servers.process import wait_until
from servers.rabbitmq import RabbitMQ
from servers.redis import Redis
from servers.scripted import ScriptedServer
from task_queues.conftest import Make
from task_queues.contract import send
from task_queues.test_celery import CeleryWorkplace, OnRabbitMQ, OnRedis
from task_queues.test_celery_apps import taken


@contextmanager
def running(task: Any, *args: Any, eager: bool = False) -> Iterator[Any]:
    """As a worker calls it."""
    task.push_request(
        id="1",
        args=args,
        kwargs={},
        called_directly=False,
        is_eager=eager,
        delivery_info={"exchange": "", "routing_key": "mail", "priority": 3},
    )
    try:
        yield lambda: task.run(*args)
    finally:
        task.pop_request()


@pytest.fixture
def celery(redis_server: Redis) -> Iterator[Celery]:
    celery = Celery("shop", broker=redis_server.url, set_as_current=False)
    celery.conf.task_ignore_result = True
    yield celery
    redis_server.flush()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    script = {
        "RCPT busy@example.org": ["451 4.2.1 Later", None],
        "RCPT nobody@example.org": "550 5.1.1 Nobody",
    }
    with ScriptedServer(script=script) as server:
        yield server


@pytest.fixture
def app(make: Make, celery: Celery, server: ScriptedServer) -> Flask:
    app = make("celery", celery, MAIL_OUTBOX_URL=None)
    app.config["MAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
    Mail(app)
    return app


def to_all(app: Flask) -> Any:
    """Send to one who takes it, one who takes it later, and one who is not there."""
    recipients = [f"{name}@example.org" for name in ("you", "busy", "nobody")]
    with app.app_context():
        return app.extensions["mail"].send(Message("Hello", recipients=recipients, body="Hello."))


def test_another_task_carries_it_to_those_who_are_still_open(
    app: Flask, celery: Celery, server: ScriptedServer
) -> None:
    receipt = to_all(app)
    (first,) = taken(celery)
    assert first.headers["id"] == receipt.id
    assert "you@example.org" not in str(first.headers)
    task = celery.tasks[DELIVER_LETTER]
    with running(task, *first.payload[0]) as run, pytest.raises(Retry) as raised:
        run()
    (again,) = taken(celery, "mail")
    assert again.headers["eta"] is not None
    assert again.properties["priority"] == 3
    assert "busy@example.org" not in str(again.headers)
    (document,) = again.payload[0]
    assert Parcel.from_json(document).to == ("busy@example.org",)
    assert raised.value.when == pytest.approx(0.05, rel=0.5)
    wait_until(lambda: Parcel.from_json(document).wait() == 0, "moment of the next try")
    with running(task, document) as run:
        result = run()
    assert (result["id"], result["state"]) == (receipt.id, "sent")
    assert result["recipients"]["busy@example.org"]["state"] == "accepted"
    assert [message.recipients for message in server.messages] == [
        ["you@example.org"],
        ["busy@example.org"],
    ]
    assert server.messages[0].content == server.messages[1].content


def test_a_task_that_this_process_cannot_do_comes_again(
    app: Flask, celery: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    document = '{"v":99,"id":"1"}'
    with running(celery.tasks[DELIVER_LETTER], document) as run, pytest.raises(Retry) as raised:
        run()
    assert raised.value.when == MISFIT
    (again,) = taken(celery, "mail")
    assert again.payload[0] == [document]
    assert "made by a newer Flask-Outbox" in caplog.text


class Slow:
    """Who does the tasks, and is interrupted by a time limit of the user's."""

    is_current = True

    def carry(self, document: str) -> Any:
        raise SoftTimeLimitExceeded


def test_a_time_limit_loses_no_letter(app: Flask, celery: Celery) -> None:
    app.extensions["flask_outbox"].wiring.tasks.queue.host = Slow()
    with running(celery.tasks[DELIVER_LETTER], "letter") as run, pytest.raises(Retry):
        run()
    (again,) = taken(celery, "mail")
    assert again.payload[0] == ["letter"]


def test_what_the_broker_does_not_take_again_it_keeps(
    make: Make, server: ScriptedServer, start_redis: Callable[[], Redis]
) -> None:
    broker = start_redis()
    celery = Celery("shop", broker=broker.url, set_as_current=False)
    celery.conf.task_ignore_result = True
    app = make("celery", celery, MAIL_OUTBOX_URL=None)
    app.config["MAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
    Mail(app)
    to_all(app)
    (first,) = taken(celery)
    broker.kill()
    task = celery.tasks[DELIVER_LETTER]
    with running(task, *first.payload[0]) as run, pytest.raises(Reject) as raised:
        run()
    assert raised.value.requeue


def test_an_eager_task_tries_once(
    app: Flask, celery: Celery, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    celery.conf.task_always_eager = True
    to_all(app)
    assert [message.recipients for message in server.messages] == [["you@example.org"]]
    assert "a message is not tried again: with 'task_always_eager'" in caplog.text


def test_rabbitmq_confirms_what_it_takes(make: Make, rabbitmq: RabbitMQ) -> None:
    """A message that lies on the way to it is not sent."""
    celery = Celery("shop", broker=rabbitmq.url, set_as_current=False)
    options = {"retry": False, "confirm_timeout": 0.2}
    app = make("celery", celery, MAIL_OUTBOX_URL=None, MAIL_TASK_OPTIONS=options)
    send(app)
    os.kill(rabbitmq.pid, signal.SIGSTOP)
    try:
        with pytest.raises(BrokerError, match="did not take the message"):
            send(app)
    finally:
        os.kill(rabbitmq.pid, signal.SIGCONT)
    rabbitmq.clear()


# -- with workers ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smtp_of_all() -> Iterator[AccountingServer]:
    with AccountingServer() as server:
        yield server


@pytest.fixture
def smtp(smtp_of_all: AccountingServer) -> Iterator[AccountingServer]:
    """It does what it is told to for one test."""
    yield smtp_of_all
    smtp_of_all.on_content, smtp_of_all.on_step = (lambda count: None), (lambda step: None)


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def workplace(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    smtp_of_all: AccountingServer,
) -> Iterator[CeleryWorkplace]:
    redis: Redis = request.getfixturevalue("redis_server")
    broker = request.getfixturevalue("rabbitmq") if request.param == "rabbitmq" else redis
    kind = OnRabbitMQ if request.param == "rabbitmq" else OnRedis
    workplace = kind(tmp_path_factory.mktemp("letters"), smtp_of_all.port, broker.url)
    workplace.settings["MAIL_OUTBOX_URL"] = None
    workplace.env |= {"FLASK_MAIL_OUTBOX_URL": "null", "RESULTS": redis.url}
    workplace.start()
    yield workplace
    workplace.close()
    redis.flush()
    broker.flush() if broker is redis else broker.clear()


@pytest.fixture
def results(workplace: CeleryWorkplace, redis_server: Redis) -> Celery:
    """Celery as the application has it that sends, and that asks what became of it."""
    celery = workplace.queue("mail")
    celery.conf.result_backend = redis_server.url
    return celery


@pytest.fixture
def sender(workplace: CeleryWorkplace, results: Celery) -> Flask:
    return workplace.app(results)


def test_a_letter_is_tried_until_it_is_sent_and_its_result_is_kept(
    smtp: AccountingServer, sender: Flask, results: Celery
) -> None:
    failures = iter([When.FAREWELL] * 2)  # a connection that was open already is not blamed
    smtp.on_step = lambda step: next(failures, None) if step == "MAIL" else None
    receipt = send(sender)
    result = results.AsyncResult(receipt.id).get(timeout=30)
    assert (result["message_id"], result["state"]) == (receipt.message_id, "sent")
    assert len(smtp.copies[receipt.message_id]) == 1


def test_what_a_killed_child_was_sending_is_sent_again_alike(
    smtp: AccountingServer, workplace: CeleryWorkplace, sender: Flask, results: Celery
) -> None:
    killed: list[int] = []

    def kill(count: int) -> None:
        if not killed:
            killed.extend(workplace.children)
            for child in killed:
                os.kill(child, signal.SIGKILL)

    smtp.on_content = kill
    receipt = send(sender)
    assert results.AsyncResult(receipt.id).get(timeout=30)["state"] == "sent"
    assert len(smtp.copies[receipt.message_id]) == 2
    assert len(set(smtp.copies[receipt.message_id])) == 1
