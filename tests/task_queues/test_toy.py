"""A task queue of somebody else's, found by its entry point, sends the mail as those do that are known here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from flask_outbox.errors import ConfigurationError, MessageError
from journeys.accounting import AccountingServer
from servers.process import wait_until
from task_queues.conftest import Make
from task_queues.contract import fail, send, wait_for_end
from task_queues.toy_queue import Toy

_ENTRY_POINTS = """\
[flask_outbox.task_queues]
toy = task_queues.toy_queue:ToyTasks
toy-letters = task_queues.toy_queue:ToyLetters
no-queue = task_queues.toy_queue:Toy
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip would leave it."""
    metadata = tmp_path / "site" / "toy_queue-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-queue\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(_ENTRY_POINTS)
    monkeypatch.syspath_prepend(metadata.parent)


@pytest.fixture
def toy() -> Toy:
    return Toy()


@contextmanager
def working(toy: Toy, app: Flask) -> Iterator[None]:
    """Within it, a worker runs."""
    worker = threading.Thread(target=toy.work, args=[app])
    worker.start()
    yield
    toy.waiting.put(None)
    worker.join()


def test_its_tasks_send_what_they_name(make: Make, toy: Toy) -> None:
    app = make("toy", toy)
    with working(toy, app):
        receipts = [send(app) for _ in range(20)]
        for receipt in receipts:
            wait_for_end(app, receipt)
    assert receipts[0].durable
    told = [item for result in toy.results for item in result.items()]
    assert sorted(told) == sorted((receipt.id, "sent") for receipt in receipts)


def test_the_relay_in_its_worker_tells_of_what_is_tried_again(
    make: Make, smtp_here: AccountingServer, toy: Toy
) -> None:
    app = make("toy", toy)
    fail(smtp_here, 1)
    with working(toy, app):
        receipt = send(app)
        wait_for_end(app, receipt)
    assert toy.results == [{receipt.id: "queued"}, {receipt.id: "sent"}]


def test_a_task_of_what_is_over_or_unknown_sends_nothing(
    make: Make, smtp_here: AccountingServer, toy: Toy
) -> None:
    """As when a broker gives a task twice, or has kept one for too long."""
    from flask_outbox import tasks

    app = make("toy", toy)
    with working(toy, app):
        receipt = send(app)
        wait_for_end(app, receipt)
        toy.put(lambda: tasks.deliver([receipt.id, "0" * 32]))
        wait_until(lambda: len(toy.results) == 2, "end of the task")
    assert toy.results[1] == {receipt.id: "sent", "0" * 32: "unknown"}
    assert smtp_here.count == 1


def test_its_options_are_those_of_the_priority(make: Make, toy: Toy) -> None:
    app = make("toy", toy, MAIL_TASK_OPTIONS={"pace": 1, "low": {"pace": 2, "quiet": True}})
    for priority in ("high", "low"):
        send(app, priority=priority)
    wait_until(lambda: len(toy.options) == 2, "tasks")
    assert toy.options == [{"pace": 1}, {"pace": 2, "quiet": True}]


@pytest.mark.only("postgresql+psycopg")
def test_what_is_rolled_back_is_never_told_and_what_is_committed_is(
    make: Make, toy: Toy, database: str
) -> None:
    """Where the outbox shares the transaction of the application."""
    app = make("toy", toy, MAIL_OUTBOX_URL=database)
    engine = create_engine(database)
    with Session(engine) as session:
        session.execute(text("SELECT 1"))
        send(app, session=session)
        session.rollback()
        receipt = send(app, session=session)
        assert toy.waiting.empty()
        session.commit()
    with working(toy, app):
        wait_for_end(app, receipt)
    engine.dispose()
    assert toy.results == [{receipt.id: "sent"}]


def test_without_an_outbox_its_tasks_carry_the_letters(
    make: Make, smtp_here: AccountingServer, toy: Toy
) -> None:
    app = make("toy-letters", toy, MAIL_OUTBOX_URL=None)
    fail(smtp_here, 1)
    with working(toy, app):
        receipt = send(app)
        smtp_here.wait_for(1)
        wait_until(lambda: len(toy.results) == 2, "end of the second task")
    assert [(one["id"], one["state"]) for one in toy.results] == [
        (receipt.id, "queued"),
        (receipt.id, "sent"),
    ]


def test_what_needs_the_outbox_is_refused_without_one(make: Make, toy: Toy) -> None:
    app = make("toy-letters", toy, MAIL_OUTBOX_URL=None)
    for option in ({"key": "welcome"}, {"guarantee": "at_most_once"}):
        with pytest.raises(MessageError, match="needs the outbox"):
            send(app, **option)


def test_one_that_carries_no_letters_needs_the_outbox(make: Make, toy: Toy) -> None:
    with pytest.raises(ConfigurationError, match="'toy' needs the outbox"):
        make("toy", toy, MAIL_OUTBOX_URL=None)


def test_what_its_entry_point_names_must_be_a_task_queue(make: Make, toy: Toy) -> None:
    with pytest.raises(ConfigurationError, match="is not a subclass of"):
        make("no-queue", toy)


def test_one_that_is_not_installed_is_no_engine(make: Make, toy: Toy) -> None:
    with pytest.raises(ConfigurationError, match="'MAIL_ENGINE' must be one of: outbox, "):
        make("other-toy", toy)


def test_it_is_found_under_its_name_where_nothing_is_said(make: Make, toy: Toy) -> None:
    app = make("toy", None)
    app.extensions["toy"] = toy
    with working(toy, app):
        wait_for_end(app, send(app))
