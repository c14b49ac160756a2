"""What is over goes with all that belongs to it; what is not, is whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import pytest

from flask_outbox.ledger import retention, tables
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.retention import Swept
from flask_outbox.ledger.rows import millis
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Terms
from flask_outbox.rules.outcomes import Outcome
from flask_outbox.rules.retention import DAY, EVER, Retention
from flask_outbox.rules.states import State
from ledger.conftest import (
    ACCEPTED,
    LEASE,
    NOW,
    REFUSED,
    beside,
    claim,
    letter,
    put,
    result,
    stored,
)

#: What this page's letters of second 0 are to a sweep: long over.
LATER = NOW + 2 * DAY

SENT = Retention({State.SENT: DAY}, {}, EVER)
BODIES = Retention({}, {State.SENT: DAY}, EVER)


def end(store: Store, outcome: Outcome = ACCEPTED) -> None:
    """End all that is due."""
    store.finish([result(one, outcome) for one in claim(store)], NOW)


def rows(store: Store) -> dict[str, int]:
    """How many rows each table has, where it has any."""
    with store.database.snapshot() as connection:
        counts = {
            name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
            for name in tables.metadata.tables
        }
    return {name: count for name, count in counts.items() if count and name != "mail_schema"}


def total(steps: Iterator[Swept]) -> Swept:
    return Swept(*map(sum, zip(Swept(), *steps, strict=True)))


def sweep(store: Store, rule: Retention = SENT, now: float = LATER) -> Swept:
    return total(store.sweeps.whole(rule, now))._replace(pages=0)


def attach(store: Store, number: int, data: bytes, now: float = NOW) -> None:
    store.add([(letter(number, attached=[data]), Terms())], now)


# -- messages --------------------------------------------------------------------------------------------------


def test_a_purged_message_leaves_nothing_but_its_key(store: Store) -> None:
    one = replace(letter(1, attached=[b"x" * 5_000]), tags=("welcome",))
    store.add([(one, Terms(key="welcome:1"))], NOW)
    end(store)
    assert sweep(store).messages == 1
    assert rows(store) == {"mail_key": 1}


def test_a_message_that_ended_later_or_otherwise_or_not_at_all_stays(store: Store) -> None:
    put(store, 1)
    end(store, REFUSED)
    put(store, 2)
    end(store)
    put(store, 3)
    dead = Retention({State.DEAD: 0.0}, {}, EVER)
    assert (sweep(store, now=NOW + DAY / 2), sweep(store, dead)) == (Swept(), Swept(1))
    assert Reports(store).get(letter(1).id) is None
    assert (stored(store, 2).state, stored(store, 3).state) == ("sent", "queued")


def test_what_waits_for_a_person_stays(store: Store) -> None:
    put(store, 1, terms=Terms(hold="not yet"))
    assert sweep(store, Retention(dict.fromkeys(("sent", "dead"), 0.0))) == Swept()


def test_another_environments_messages_stay(store: Store) -> None:
    put(store, 1)
    end(store)
    staging = beside(store, "staging")
    assert (staging.sweeps.count(SENT, LATER), sweep(staging)) == (Swept(), Swept())
    staging.dispose()
    assert stored(store, 1).state == "sent"


def test_it_goes_step_by_step_and_counts_exactly(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE", 3)
    put(store, *range(1, 9))
    end(store)
    put(store, 9)
    assert store.sweeps.count(SENT, LATER) == Swept(8)
    steps = [step.messages for step in store.sweeps.whole(SENT, LATER) if step.messages]
    assert steps == [3, 3, 2]
    assert stored(store, 9).state == "queued"


def test_a_step_frees_a_bounded_number_of_bytes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BYTES", 50_000)
    for number in range(1, 6):
        attach(store, number, bytes([number]) * 15_000)
    end(store)
    steps = [step.messages for step in store.sweeps.whole(SENT, LATER) if step.messages]
    assert steps == [2, 2, 1]


def test_a_step_is_a_dozen_statements_at_most(
    store: Store, traced: Callable[[], list[str]]
) -> None:
    for number in range(1, 101):
        attach(store, number, b"%d" % number)
    end(store)
    steps = store.sweeps.whole(SENT, LATER)
    before = len(traced())
    assert next(steps).messages == 100
    # The page of letters; BEGIN, the lock, the digests, 9 times DELETE, COMMIT.
    assert len(traced()) - before <= 14


def test_a_step_costs_the_same_however_many_messages_stay(
    store: Store, effort: Callable[[Callable[[], object]], int]
) -> None:
    put(store, *range(1, 11))
    end(store)
    first = effort(lambda: sweep(store))
    put(store, *range(11, 21))
    end(store)
    put(store, *range(0xF << 120, (0xF << 120) + 400))
    assert effort(lambda: sweep(store)) < 2 * first


def test_a_page_ends_with_a_whole_letter_whatever_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    put(store, *range(1, 8))
    store.finish([result(one, ACCEPTED) for one in claim(store)[::2]], NOW)
    assert sweep(store).messages == 4
    assert rows(store)["mail_letter"] == 3


def test_one_that_is_retried_meanwhile_is_whole(store: Store) -> None:
    put(store, 1)
    end(store, REFUSED)
    steps = store.sweeps.whole(Retention({State.DEAD: 0.0}, {}, EVER), LATER)
    page = store.sweeps._page

    def retried(after: str, before: str) -> object:
        found = page(after, before)
        store.retry(letter(1).id, NOW)
        return found

    store.sweeps._page = retried  # type: ignore[method-assign,assignment]  # between the look and the lock
    assert sum(step.messages for step in islice(steps, 1)) == 0
    assert [one.letter for one in claim(store)] == [letter(1)]


def test_a_sweep_that_ends_in_the_middle_leaves_the_rest_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    for number in range(1, 6):
        attach(store, number, b"%d" % number * 900)
    end(store)
    next(store.sweeps.whole(SENT, LATER))
    found = [Reports(store).content(letter(number).id) for number in range(1, 6)]
    assert found[:2] == [None, None]
    assert found[2:] == [letter(n, attached=[b"%d" % n * 900]) for n in range(3, 6)]
    assert sweep(store).messages == 3
    assert rows(store) == {}


# -- their contents --------------------------------------------------------------------------------------------


def test_a_body_goes_and_the_record_stays(store: Store) -> None:
    attach(store, 1, b"x" * 5_000)
    end(store)
    assert sweep(store, BODIES) == Swept(bodies=1)
    view = stored(store, 1)
    assert (view.state, view.subject, len(view.attempts)) == ("sent", "Number 1", 1)
    assert Reports(store).content(letter(1).id) is None
    assert not {"mail_blob", "mail_letter_blob"} & rows(store).keys()


def test_a_body_goes_once(store: Store) -> None:
    put(store, 1)
    end(store)
    assert (sweep(store, BODIES), sweep(store, BODIES)) == (Swept(bodies=1), Swept())


def test_bodies_are_counted_apart_from_what_goes_as_a_whole(store: Store) -> None:
    put(store, 1)
    end(store)
    both = Retention({State.SENT: DAY}, {State.SENT: 60.0}, EVER)
    assert store.sweeps.count(both, NOW + 120) == Swept(bodies=1)
    assert store.sweeps.count(both, LATER) == Swept(messages=1)


def test_a_message_without_its_body_is_not_retried(store: Store) -> None:
    put(store, 1)
    end(store, REFUSED)
    sweep(store, Retention({}, {State.DEAD: 0.0}, EVER))
    assert not store.retry(letter(1).id, LATER)
    assert stored(store, 1).state == "dead"


# -- attachments -----------------------------------------------------------------------------------------------


def test_an_attachment_that_another_message_has_stays(store: Store) -> None:
    shared = b"y" * 5_000
    attach(store, 1, shared)
    end(store)
    attach(store, 2, shared)
    sweep(store)
    kept = Reports(store).content(letter(2).id)
    assert kept is not None
    assert kept.attachments[0].data == shared


def test_an_attachment_that_a_send_may_just_rely_on_stays(store: Store) -> None:
    attach(store, 1, b"z" * 5_000)
    end(store)
    assert sweep(store, Retention({State.SENT: 0.0}, {}, EVER), NOW + 60).messages == 1
    assert rows(store) == {"mail_blob": 1}


def test_an_attachment_that_was_too_fresh_then_goes_later(store: Store) -> None:
    attach(store, 1, b"z" * 5_000)
    end(store)
    sweep(store, Retention({State.SENT: 0.0}, {}, EVER), NOW + 60)
    assert sweep(store) == Swept(attachments=1)
    assert rows(store) == {}


def test_a_send_that_finds_an_old_attachment_keeps_it_for_itself(store: Store) -> None:
    """Its insert touches what it finds, so that a collector right after its commit, or before, takes nothing."""
    attach(store, 1, b"z" * 5_000)
    end(store)
    attach(store, 2, b"z" * 5_000, LATER - 60)
    store.cancel(letter(2).id, LATER - 60)
    sweep(store, Retention({State.SENT: 0.0, State.CANCELLED: 0.0}, {}, EVER))
    assert rows(store) == {"mail_blob": 1}


def test_attachments_of_a_discarded_batch_go(store: Store) -> None:
    from flask_outbox.mail.letter import Place

    store.batches.begin("b" * 32, NOW)
    terms = Terms(place=Place("b" * 32, 0, waits=True))
    store.add([(letter(1, attached=[b"x" * 5_000]), terms)], NOW)
    store.batches.decide("b" * 32, "discarded")
    store.batches.carry_out("b" * 32, "discarded", NOW)
    assert rows(store) == {"mail_blob": 1}
    assert sweep(store) == Swept(attachments=1)


# -- what belongs to no message ----------------------------------------------------------------------------------

EVENTS = Retention({}, {}, EVER, 3 * DAY)


def tell(store: Store, *events: tuple[int, str | None, float]) -> None:
    """Write down that something was told of messages.

    :param events: a number, the id of the message, and when.
    """
    rows = [
        {
            "letter_id": letter_id,
            "happened": millis(recorded),
            "recorded": millis(recorded),
            "source": "mailer",
            "source_key": str(number),
        }
        for number, letter_id, recorded in events
    ]
    with store.database.transaction() as connection:
        connection.execute(tables.event.insert(), rows)


def told(store: Store) -> list[int]:
    """What is still known."""
    with store.database.snapshot() as connection:
        known = connection.exec_driver_sql("SELECT source_key FROM mail_event").scalars()
        return sorted(map(int, known))


def test_what_was_told_of_no_message_goes_after_its_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    put(store, 1)
    for number in range(3):
        tell(store, (number, None, NOW), (10 + number, letter(1).id, NOW))
        tell(store, (20 + number, "f" * 32, NOW))
    tell(store, *((30 + number, None, NOW + 2 * DAY) for number in range(3)))
    assert sweep(store, EVENTS, NOW + 4 * DAY) == Swept(events=6)
    assert told(store) == [10, 11, 12, 30, 31, 32]
    assert sweep(store, replace(EVENTS, events=EVER), NOW + 99 * DAY) == Swept()


def test_a_suppression_goes_some_time_after_its_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    ends = {f"a{number}@example.org": NOW for number in range(5)}
    ends |= {"later@example.org": NOW + 2 * DAY, "never@example.org": None}
    with store.database.transaction() as connection:
        for env in ("", "staging"):
            for address, end in ends.items():
                expires = None if end is None else millis(end)
                row = {"env": env, "address": address, "created": 0, "expires": expires}
                connection.execute(tables.suppression.insert().values(row))
    assert sweep(store, EVENTS, NOW + 4 * DAY) == Swept(suppressions=5)
    with store.database.snapshot() as connection:
        left = connection.exec_driver_sql("SELECT env, address FROM mail_suppression").all()
    assert len([row for row in left if row.env]) == 7
    assert {row.address for row in left if not row.env} == {
        "later@example.org",
        "never@example.org",
    }


# -- several at once ---------------------------------------------------------------------------------------------


def test_two_sweeps_at_once_take_everything_once_and_nothing_that_is_in_use(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their letters share attachments, and so does one that is sent meanwhile."""
    monkeypatch.setattr(retention, "PAGE", 10)
    files = [bytes([number]) * 1_000 for number in range(6)]
    shared = [[files[number % 6], files[number * 5 % 6]] for number in range(100)]
    store.add([(letter(n, attached=these), Terms()) for n, these in enumerate(shared)], NOW)
    tell(store, *((number, None, NOW) for number in range(100)))
    end(store)
    both, found = threading.Barrier(3), list[Swept]()

    def run(one: Store) -> None:
        both.wait()
        found.append(sweep(one, replace(SENT, events=DAY), LATER))

    stores = [beside(store), beside(store)]
    sweeping = [threading.Thread(target=run, args=(one,)) for one in stores]
    for thread in sweeping:
        thread.start()
    both.wait()
    for number in range(200, 212):
        attach(store, number, files[0], LATER)
    for thread in sweeping:
        thread.join()
    for one in stores:
        one.dispose()
    assert [sum(one.messages for one in found), sum(one.events for one in found)] == [100, 100]
    assert rows(store)["mail_letter"] == 12
    claims = store.claim("default", 1, 20, now=LATER, lease=LEASE)
    assert [one.letter.attachments[0].data for one in claims] == [files[0]] * 12
    sweep(store, SENT, LATER + 2 * DAY)
    assert rows(store)["mail_blob"] == 1


# -- keys, the file, and what comes again ------------------------------------------------------------------------


def test_keys_are_forgotten_after_their_own_time(store: Store) -> None:
    store.add([(letter(1), Terms(key="old"))], NOW)
    store.add([(letter(2), Terms(key="new"))], NOW + 2 * DAY)
    assert sweep(store, Retention({}, {}, 3 * DAY), NOW + 4 * DAY) == Swept(keys=1)
    both = [(letter(3), Terms(key="old")), (replace(letter(2), id="4" * 32), Terms(key="new"))]
    assert store.add(both, NOW + 4 * DAY) == [letter(3).id, letter(2).id]


@pytest.mark.only("sqlite")
def test_a_file_becomes_smaller(store: Store) -> None:
    attach(store, 1, b"x" * 4_000_000)
    end(store)
    assert total(store.sweeps.whole(SENT, LATER)).pages > 900
    with store.database.snapshot() as connection:
        assert connection.exec_driver_sql("PRAGMA freelist_count").scalar_one() == 0


@pytest.mark.only("sqlite")
def test_a_worker_leaves_the_file_some_room(store: Store) -> None:
    attach(store, 1, b"x" * 4_000_000)
    end(store)
    assert total(store.sweeps.routine(SENT, LATER)).pages == 0


def test_a_worker_goes_on_where_it_was_and_once_a_day_from_the_beginning(store: Store) -> None:
    put(store, 1)
    assert total(store.sweeps.routine(SENT, LATER)).messages == 0
    end(store)
    assert total(store.sweeps.routine(SENT, LATER + 3_600)).messages == 0
    assert total(store.sweeps.routine(SENT, LATER + DAY)).messages == 1


def test_what_is_a_little_late_does_not_wait_for_the_next_day(store: Store) -> None:
    number = int((LATER - DAY - 60) * 1000) << 80  # as letters are numbered
    put(store, number)
    assert total(store.sweeps.routine(SENT, LATER)).messages == 0
    end(store)
    assert total(store.sweeps.routine(SENT, LATER + 3_600)).messages == 1
