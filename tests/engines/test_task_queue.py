"""The contract of a task queue: its options, and by whom a task is done that says nothing of its application."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from weakref import WeakSet, ref

import pytest

from flask_outbox.engines.letter_tasks import Carried
from flask_outbox.engines.task_queue import TaskOptions, TaskQueue, host_of, using
from flask_outbox.errors import ConfigurationError

EVERY = {"queue": "mail", "expires": 60}


@dataclass
class OfApp:
    """What the tasks of an application are done by."""

    app: str
    is_current: bool = False

    def context(self) -> AbstractContextManager[object]:
        return nullcontext()

    def deliver(self, ids: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(ids, self.app)

    def carry(self, document: str) -> Carried:
        return Carried({"by": self.app})

    def relay(self) -> None: ...

    def start_relay(self) -> None: ...

    def close(self) -> None: ...


class Queue(TaskQueue):
    name = "test"

    def publish(self, ids: Sequence[str], priority: int) -> None: ...


def queue(app: str, found: object = "broker", *, current: bool = False) -> Queue:
    return Queue(OfApp(app, current), lambda: found, TaskOptions())


def on_broker(queue: Queue) -> bool:
    return bool(queue.find() == "broker")


# -- options ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("priority", "expected"),
    [
        (0, {"queue": "first", "expires": 60}),
        (1, EVERY),
        (2, {"queue": "mail", "expires": 60, "rate": 1}),
    ],
)
def test_the_options_of_a_priority_go_before(priority: int, expected: dict[str, object]) -> None:
    options = TaskOptions.of({**EVERY, "high": {"queue": "first"}, "low": {"rate": 1}})
    assert options.of_priority(priority) == expected


def test_what_a_queue_takes_out_of_them_is_there_the_next_time() -> None:
    options = TaskOptions.of(EVERY)
    options.of_priority(1).clear()
    assert options.of_priority(1) == EVERY


def test_a_priority_has_a_dict_of_options() -> None:
    with pytest.raises(ConfigurationError, match="must have a dict of options under 'low'"):
        TaskOptions.of({"low": "slow"})


def test_an_option_that_the_queue_does_not_know_is_named_with_those_that_it_does() -> None:
    TaskOptions.of({**EVERY, "high": EVERY}).check(EVERY)
    for given in ({"que": "mail"}, {"high": {"que": "mail"}}):
        with pytest.raises(ConfigurationError, match="'que', which is none of: expires, queue"):
            TaskOptions.of(given).check(EVERY)


# -- by whom a task is done ------------------------------------------------------------------------------------


def test_a_task_is_done_by_the_only_application_that_uses_its_queue() -> None:
    queues = [queue("one"), queue("other", "another broker")]
    assert host_of(queues, on_broker) == OfApp("one")


def test_two_queues_of_one_application_are_one() -> None:
    """Its settings have changed, and somebody still has the queue of before."""
    assert host_of([queue("one"), queue("one")], on_broker) == OfApp("one")


def test_of_several_it_is_the_current_one() -> None:
    queues = [queue("one"), queue("other", current=True)]
    assert host_of(queues, on_broker) == OfApp("other", True)


def test_a_current_one_that_has_another_queue_is_not_asked() -> None:
    queues = [queue("one"), queue("other", "another broker", current=True)]
    assert host_of(queues, on_broker) == OfApp("one")


@pytest.mark.parametrize(
    ("apps", "problem"),
    [
        ([], "no application uses the queue of this task"),
        (["one", "other"], "more than one application uses the queue of this task"),
    ],
)
def test_where_it_cannot_be_told_the_cure_is(apps: list[str], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{problem}.*push the application's context"):
        host_of([queue(app) for app in apps], on_broker)


@pytest.mark.parametrize("error", [RuntimeError("gone"), ConfigurationError("wrong")])
def test_an_application_that_is_gone_or_cannot_send_is_in_nobodys_way(error: Exception) -> None:
    def fail() -> object:
        raise error

    broken, sound = Queue(OfApp("broken"), fail, TaskOptions()), queue("sound")
    assert using([broken, sound], on_broker) == [sound]
    assert host_of([broken, sound], on_broker) == OfApp("sound")


def test_one_that_nobody_has_any_more_is_not_counted() -> None:
    """An application is a cycle, which is there until somebody collects it."""
    queues: WeakSet[Queue] = WeakSet()
    sound = queue("sound")
    queues.add(sound)
    gc.disable()
    try:
        left = queue("left")
        left.myself = left  # type: ignore[attr-defined]
        queues.add(left)
        seen = ref(left)
        del left
        assert seen() is not None
        assert host_of(queues, on_broker) == OfApp("sound")
    finally:
        gc.enable()


# -- what a queue has without doing anything -------------------------------------------------------------------


def test_one_that_carries_no_letters_says_so() -> None:
    with pytest.raises(ConfigurationError, match="'test' needs the outbox"):
        queue("one").publish_letter("{}", 1, 0.0)


def test_one_that_cannot_be_asked_says_so() -> None:
    assert queue("one").check() == "test is not asked."
