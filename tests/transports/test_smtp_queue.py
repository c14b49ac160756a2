"""Who of a pool's connections may take which letter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask_outbox.transports.smtp_job import Job
from flask_outbox.transports.smtp_queue import Queue


@dataclass
class Waiting:
    """As much of a job as counts here."""

    name: str
    urgent: bool = False
    wanted: bool = True
    withdrawn: bool = False

    def withdraw(self) -> None:
        self.withdrawn = True


def a_queue(connections: int, *waiting: Waiting) -> Queue[str]:
    queue: Queue[str] = Queue(connections)
    for job in waiting:
        queue.add(cast(Job, job))
    return queue


def bulk(count: int) -> list[Waiting]:
    return [Waiting(f"bulk {number}") for number in range(1, count + 1)]


def took(queue: Queue[str], connection: str, before: Waiting | None = None) -> str | None:
    job = cast("Waiting | None", queue.take(connection, cast("Job | None", before)))
    return job and job.name


URGENT = Waiting("urgent", urgent=True)
BULK = Waiting("bulk")


def test_urgent_letters_stand_before_the_others_and_the_older_of_two_first() -> None:
    queue = a_queue(1, *bulk(2), URGENT, Waiting("more urgent", urgent=True))
    names = [took(queue, "a") for _ in range(5)]
    assert names == ["urgent", "more urgent", "bulk 1", "bulk 2", None]


def test_what_goes_on_stands_before_all_of_its_kind() -> None:
    queue = a_queue(1, *bulk(1), URGENT)
    queue.put_back(cast(Job, Waiting("further bulk")))
    assert [took(queue, "a") for _ in range(3)] == ["urgent", "further bulk", "bulk 1"]


def test_what_is_no_longer_wanted_is_withdrawn_and_passed_over() -> None:
    unwanted = Waiting("unwanted", wanted=False)
    assert took(a_queue(1, unwanted, BULK), "a") == "bulk"
    assert unwanted.withdrawn


def test_one_of_three_connections_is_kept_for_urgent_letters() -> None:
    queue = a_queue(3, *bulk(9))
    assert [took(queue, name) for name in "abc"] == ["bulk 1", "bulk 2", None]
    queue.add(cast(Job, URGENT))
    assert took(queue, "c") == "urgent"


def test_of_two_connections_none_is_kept() -> None:
    queue = a_queue(2, *bulk(9))
    assert [took(queue, name) for name in "ab"] == ["bulk 1", "bulk 2"]
    assert queue.kept == 0


def test_whichever_connection_is_left_is_the_kept_one() -> None:
    queue = a_queue(3, *bulk(9))
    for name in "ab":
        took(queue, name)
    queue.free("a")
    assert took(queue, "c") == "bulk 3"
    assert took(queue, "a") is None


def test_a_connection_that_carries_bulk_may_have_more_of_it_sent_ahead() -> None:
    queue = a_queue(3, *bulk(9))
    for name in "ab":
        took(queue, name)
    assert took(queue, "a", before=BULK) == "bulk 3"
    assert took(queue, "c", before=URGENT) is None


def test_a_connection_that_went_over_to_urgent_letters_leaves_its_place_to_another() -> None:
    queue = a_queue(3, *bulk(9))
    for name in "ab":
        took(queue, name)
    queue.add(cast(Job, URGENT))
    assert took(queue, "a") == "urgent"
    assert took(queue, "c") == "bulk 3"


def test_where_one_is_kept_no_urgent_letter_goes_behind_a_bulk_content() -> None:
    assert took(a_queue(3, URGENT, BULK), "a", before=BULK) is None
    assert took(a_queue(3, URGENT), "a", before=Waiting("other", urgent=True)) == "urgent"
    assert took(a_queue(2, URGENT), "a", before=BULK) == "urgent"


def test_only_connections_that_could_take_a_letter_are_worth_opening() -> None:
    queue = a_queue(4, *bulk(9), URGENT)
    assert queue.worth == 4
    took(queue, "a")
    assert queue.worth == 3
    for name in "bcd":
        took(queue, name)
    assert queue.worth == 0


def test_a_letter_is_sent_behind_a_content_that_it_may_stand_behind() -> None:
    queue = a_queue(3, *bulk(9))
    for name in "ab":
        took(queue, name)
    contents = {"a", "c"}
    assert queue.behind(contents) == ["a"]
    queue.add(cast(Job, URGENT))
    assert queue.behind(contents) == ["c"]
