"""The dispatcher: it tells a broker of what is stored, and nobody waits for that."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from flask_outbox.delivery.courier import Courier
from flask_outbox.delivery.process import DISPATCH, Process
from flask_outbox.delivery.relay import GROUP
from flask_outbox.engines import dispatch
from flask_outbox.engines.dispatch import Dispatcher
from flask_outbox.engines.task_queue import TaskQueue


class Queue(TaskQueue):
    """Takes tasks, in its own time, or not at all."""

    name = "test"

    def __init__(self) -> None:
        self.told: list[tuple[int, list[str]]] = []
        self.threads: set[str] = set()
        self.going = threading.Event()
        self.going.set()
        self.taken = threading.Semaphore(0)
        self.down = False

    def publish(self, ids: Sequence[str], priority: int) -> None:
        self.going.wait(20)
        self.threads.add(threading.current_thread().name)
        try:
            if self.down:
                raise ConnectionError("no broker")
            self.told.append((priority, list(ids)))
        finally:
            self.taken.release()


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process(lambda: Courier(dict), None, 1.0)
    yield process
    process.close()


@pytest.fixture
def dispatcher(process: Process, queue: Queue) -> Dispatcher:
    return Dispatcher(process, queue)


def test_whoever_sends_does_not_wait_for_a_broker_that_hangs(
    dispatcher: Dispatcher, queue: Queue, process: Process
) -> None:
    queue.going.clear()
    for number in range(3):
        dispatcher.put([str(number)], 1)
    assert queue.told == []
    queue.going.set()
    process.close()
    assert [id for _, ids in queue.told for id in ids] == ["0", "1", "2"]
    assert queue.threads == {DISPATCH}


def test_what_comes_meanwhile_is_one_task(
    dispatcher: Dispatcher, queue: Queue, process: Process
) -> None:
    queue.going.clear()
    dispatcher.put(["first"], 1)
    for number in range(GROUP):
        dispatcher.put([str(number)], 1)
    dispatcher.put(["urgent"], 0)
    queue.going.set()
    process.close()
    # Whether the first one was on its way alone is the thread's affair.
    assert len(queue.told) <= 4
    assert sum(len(ids) for _, ids in queue.told) == GROUP + 2
    assert (0, ["urgent"]) in queue.told


def test_a_broker_that_is_down_is_told_with_the_next_letter(
    dispatcher: Dispatcher,
    queue: Queue,
    process: Process,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(dispatch, "PAUSE", 0.0)
    queue.down = True
    with caplog.at_level(logging.WARNING, "flask_outbox"):
        dispatcher.put(["1", "2"], 1)
        assert queue.taken.acquire(timeout=20)
        queue.down = False
        dispatcher.put(["3"], 1)
        process.close()
    assert [id for _, ids in queue.told for id in ids] == ["1", "2", "3"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "the mail waits in the outbox: ConnectionError('no broker')" in caplog.text


def test_a_broker_that_is_down_is_not_asked_for_each_letter(
    dispatcher: Dispatcher, queue: Queue, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "PAUSE", 3600.0)
    queue.down = True
    tried: list[int] = []
    publish: Callable[[Sequence[str], int], None] = queue.publish

    def count(ids: Sequence[str], priority: int) -> None:
        tried.append(1)
        publish(ids, priority)

    queue.publish = count  # type: ignore[method-assign]
    for number in range(50):
        dispatcher.put([str(number)], 1)
    process.close()
    assert len(tried) == 1


def test_no_more_is_kept_than_has_room(
    dispatcher: Dispatcher, queue: Queue, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.going.clear()
    dispatcher.put((str(number) for number in range(dispatch.KEPT + 500)), 1)
    queue.going.set()
    process.close()
    assert sum(len(ids) for _, ids in queue.told) == dispatch.KEPT


def test_where_the_process_may_end_at_once_the_sender_waits_for_the_broker(
    dispatcher: Dispatcher, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each letter; nothing is gathered then."""
    monkeypatch.setattr(Queue, "ends_soon", lambda self: True)
    monkeypatch.setattr(Queue, "gather", 3600.0)
    monkeypatch.setattr(dispatch, "HASTE", 20.0)
    for number in range(3):
        dispatcher.put([str(number)], 1)
        assert queue.told[number:] == [(1, [str(number)])]


def test_not_even_then_does_it_wait_for_one_that_hangs(
    dispatcher: Dispatcher, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Queue, "ends_soon", lambda self: True)
    monkeypatch.setattr(dispatch, "HASTE", 0.01)
    queue.going.clear()
    dispatcher.put(["1"], 1)
    assert queue.told == []
    queue.going.set()
