"""Which Celery app and which application belong together, and how a task is put on the queue."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, signals
from flask import Flask, appcontext_pushed

from flask_outbox.engines.celery import DELIVER, RELAY, TIME_LIMIT
from flask_outbox.errors import ConfigurationError
from flask_outbox.signals import message_sent
from journeys.accounting import AccountingServer
from servers.process import wait_until
from servers.rabbitmq import RabbitMQ
from servers.redis import Redis
from task_queues.conftest import Make
from task_queues.contract import send, wait_for_end


@pytest.fixture
def celery(redis_server: Redis) -> Iterator[Celery]:
    yield Celery("shop", broker=redis_server.url, set_as_current=False)
    redis_server.flush()


def taken(celery: Celery, queue: str = "celery") -> list[Any]:
    """The messages of a queue, as soon as there are some; they are no longer there."""
    found = []

    def arrived() -> bool:
        with celery.connection_for_read() as connection, suppress(*connection.channel_errors):
            waiting = connection.SimpleQueue(queue)  # raises where there is none yet
            while waiting.qsize():
                found.append(waiting.get(block=False))
                found[-1].ack()
        return bool(found)

    wait_until(arrived, f"task on {queue}")
    return found


# -- which belong together -------------------------------------------------------------------------------------

_APPLICATIONS = """
from celery import Celery, _state
from flask import Flask, appcontext_pushed
from flask_outbox import Mail, Message

app = Flask("shop")
app.config.update(MAIL_ENGINE="celery", MAIL_URL="null://", MAIL_DEFAULT_SENDER="a@example.org")
mail = Mail(app)
queue = app.extensions["flask_outbox"].wiring.tasks.queue

def found(of=queue):
    # As by the thread that puts tasks on the queue, which knows of no current app.
    from threading import Thread
    def look():
        try:
            print(of.find().main)
        except ValueError as error:
            print(str(error)[:34])
    thread = Thread(target=look)
    thread.start()
    thread.join()
"""


def run(code: str, **env: str) -> list[str]:
    """Run a script in a process that has no Celery yet; the lines that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _APPLICATIONS + code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_where_nothing_is_said_the_only_celery_app_is_taken_or_the_default_one() -> None:
    code = """
found()
one = Celery("one")
found()
_state.get_current_app()  # another thread is given one by Celery, which is not meant
found()
two = Celery("two")
found()
two.set_default()
found()
app.extensions["celery"] = one
found()
app.config["MAIL_TASK_QUEUE"] = two
Mail(app)
found(app.extensions["flask_outbox"].wiring.tasks.queue)
"""
    none, several = "There is no Celery app in this pro", "There is more than one Celery app "
    assert run(code) == [none, "one", "one", several, "two", "one", "two"]


def test_each_of_two_applications_has_its_own_celery(make: Make, redis_server: Redis) -> None:
    celeries, apps = [], []
    for name in ("one", "two"):
        celery = Celery(name, broker=redis_server.url, set_as_current=False)
        celery.conf.task_default_queue = name
        celeries.append(celery)
        apps.append(make("celery", celery, MAIL_OUTBOX_ENV=name))
    one, two = (send(app).id for app in apps)
    assert [message.payload[0] for message in taken(celeries[0], "one")] == [[[one]]]
    assert [message.payload[0] for message in taken(celeries[1], "two")] == [[[two]]]
    assert celeries[0].tasks[DELIVER].run([one]) == {"sent": 1}
    assert celeries[0].tasks[DELIVER].run([two]) == {"unknown": 1}
    assert celeries[1].tasks[DELIVER].run([two]) == {"sent": 1}
    redis_server.flush()


def test_a_celery_of_two_applications_needs_to_be_told_which_is_meant(
    make: Make, celery: Celery
) -> None:
    one, two = (make("celery", celery, MAIL_OUTBOX_ENV=name) for name in ("one", "two"))
    id, deliver = send(one).id, celery.tasks[DELIVER].run
    with pytest.raises(ConfigurationError, match="more than one application uses the queue"):
        deliver([id])
    with two.app_context():
        assert deliver([id]) == {"unknown": 1}
    with one.app_context():
        assert deliver([id]) == {"sent": 1}


def test_a_task_needs_no_context_and_pushes_none_where_it_runs(make: Make, celery: Celery) -> None:
    app, pushed = make("celery", celery), []

    def note(sender: Flask, **_: object) -> None:
        pushed.append(threading.current_thread().name)

    one, two = send(app).id, send(app).id
    with appcontext_pushed.connected_to(note, app):
        assert celery.tasks[DELIVER].run([one]) == {"sent": 1}
        with app.app_context():
            assert celery.tasks[DELIVER].run([two]) == {"sent": 1}
        app.extensions["flask_outbox"].close()  # receivers have been called
    here = threading.current_thread().name
    assert pushed.count(here) == 1
    assert set(pushed) == {here, "flask-outbox-watch"}


def test_mail_that_was_closed_begins_anew_with_the_next_task(make: Make, celery: Celery) -> None:
    app = make("celery", celery)
    id = send(app).id
    app.extensions["flask_outbox"].close()
    assert celery.tasks[DELIVER].run([id]) == {"sent": 1}


def test_a_task_for_a_schedule_tells_of_what_is_due(make: Make, celery: Celery) -> None:
    app = make("celery", celery)
    receipt = send(app, delay=timedelta(seconds=0.01))
    reports = app.extensions["flask_outbox"].reports()
    wait_until(lambda: reports.get(receipt.id).state == "queued", "moment of the message")
    celery.tasks[RELAY].run()
    (message,) = taken(celery)
    assert message.payload[0] == [[receipt.id]]


def test_what_is_no_celery_app_is_refused(make: Make) -> None:
    app = make("celery", object())
    with pytest.raises(ConfigurationError, match="'MAIL_TASK_QUEUE' must be a Celery app"):
        app.extensions["flask_outbox"].wiring.tasks.queue.publish(["1"], 1)


# -- how a task is put on the queue ----------------------------------------------------------------------------


def test_a_task_names_letters_in_json_whatever_others_are_written_in(
    make: Make, celery: Celery
) -> None:
    celery.conf.update(task_serializer="pickle", accept_content=["pickle", "json"])
    receipt = send(make("celery", celery))
    (message,) = taken(celery)
    assert message.content_type == "application/json"
    assert message.payload[0] == [[receipt.id]]
    assert message.headers["ignore_result"]
    assert message.headers["eta"] is None


def test_the_queue_is_the_users_and_may_depend_on_the_priority(make: Make, celery: Celery) -> None:
    celery.conf.task_routes = {"flask_outbox.*": {"queue": "mail"}}
    celery.conf.task_annotations = {DELIVER: {"rate_limit": "10/s"}}
    options = {"high": {"queue": "urgent", "priority": 3}}
    app = make("celery", celery, MAIL_TASK_OPTIONS=options)
    high, normal = send(app, priority="high"), send(app)
    (urgent,), (other,) = taken(celery, "urgent"), taken(celery, "mail")
    assert urgent.payload[0] == [[high.id]]
    assert urgent.properties["priority"] == 3
    assert other.payload[0] == [[normal.id]]
    assert celery.tasks[DELIVER].rate_limit == "10/s"


@pytest.mark.parametrize(
    ("annotation", "limits"), [({}, [TIME_LIMIT, TIME_LIMIT]), ({"time_limit": 90}, [90, 10])]
)
def test_the_limits_of_others_break_off_no_mail_unless_they_are_meant_for_it(
    annotation: dict[str, int], limits: list[int], make: Make, celery: Celery
) -> None:
    celery.conf.update(task_time_limit=20, task_soft_time_limit=10)
    celery.conf.task_annotations = {DELIVER: annotation}
    send(make("celery", celery))
    (message,) = taken(celery)
    assert message.headers["timelimit"] == limits


def test_an_option_that_celery_does_not_know_is_refused(make: Make, celery: Celery) -> None:
    with pytest.raises(ConfigurationError, match="'MAIL_TASK_OPTIONS' has 'que'"):
        make("celery", celery, MAIL_TASK_OPTIONS={"que": "mail"})


def test_a_send_waits_for_no_broker(make: Make, smtp_here: AccountingServer) -> None:
    """A broker that takes a connection and never says a word."""
    threads: list[str] = []

    def note(**_: object) -> None:
        threads.append(threading.current_thread().name)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        celery = Celery("shop", broker=f"redis://127.0.0.1:{silent.getsockname()[1]}")
        celery.conf.broker_transport_options = {"socket_timeout": 0.5}
        signals.before_task_publish.connect(note)
        app = make("celery", celery)
        first = send(app)
        connection, _ = silent.accept()
        assert [first.durable, send(app).durable] == [True, True]
        connection.close()
    signals.before_task_publish.disconnect(note)
    assert set(threads) == {"flask-outbox-dispatch"}


def test_an_eager_task_sends_at_once_and_may_send_more(
    make: Make, smtp_here: AccountingServer
) -> None:
    celery = Celery("shop", set_as_current=False)
    celery.conf.task_always_eager = True
    app = make("celery", celery)
    more = iter([None])

    def send_more(sender: Flask, **_: object) -> None:
        for _none in more:
            send(sender)

    message_sent.connect(send_more, app)
    receipt = send(app)
    wait_for_end(app, receipt)
    smtp_here.wait_for(2)


def test_a_child_does_not_speak_over_the_connection_of_its_parent(
    tmp_path: Path, rabbitmq: RabbitMQ
) -> None:
    """As with gunicorn --preload and a message that is sent before its workers are there."""
    code = """
import os, sys, time
app.config["MAIL_TASK_QUEUE"] = celery = Celery("shop", broker=os.environ["BROKER"])
Mail(app)
queue = app.extensions["flask_outbox"].wiring.tasks.queue
queue.publish(["before"], 1)
children = []
for child in range(3):
    children.append(os.fork())
    if not children[-1]:
        for n in range(50):
            queue.publish([f"child {child} {n}"], 1)
        sys.exit()
    for n in range(50):
        queue.publish([f"parent {child} {n}"], 1)
print(*(os.waitpid(child, 0)[1] for child in children))
"""
    rabbitmq.clear()
    out = run(code, BROKER=rabbitmq.url, FLASK_MAIL_OUTBOX_URL=f"sqlite:///{tmp_path}/o.sqlite")
    assert out == ["0 0 0"]
    celery = Celery("shop", broker=rabbitmq.url, set_as_current=False)
    named = [message.payload[0][0][0] for message in taken(celery)]
    assert len(named) == len(set(named)) == 301
    rabbitmq.clear()


# -- the doctor ------------------------------------------------------------------------------------------------


def test_the_doctor_says_which_broker_answers_and_what_hinders(
    make: Make, start_redis: Any
) -> None:
    server = start_redis()
    celery = Celery("shop", broker=f"redis://:secret@127.0.0.1:{server.port}", set_as_current=False)
    celery.conf.broker_url = server.url
    check = make("celery", celery).extensions["flask_outbox"].wiring.tasks.queue.check
    assert str(server.port) in check()
    celery.conf.accept_content = ["pickle"]
    with pytest.raises(ConfigurationError, match="'accept_content' lacks 'json'"):
        check()
    celery.conf.accept_content = ["json"]
    server.kill()
    with pytest.raises(Exception, match="refused"):
        check()
