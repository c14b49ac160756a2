"""Claims: what is due, in order, once, and never what must not go."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from sqlite3 import Connection

import pytest
from sqlalchemy import event, update

from flask_outbox.ledger import tables
from flask_outbox.ledger.claims import PORTION
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Terms
from flask_outbox.rules.states import RecipientState
from ledger.conftest import (
    ACCEPTED,
    DEFERRED,
    LEASE,
    NOW,
    beside,
    claim,
    ids,
    letter,
    put,
    result,
    stored,
)


def lanes(store: Store, now: float = NOW) -> list[tuple[str, int, float]]:
    return [(lane.lane, lane.priority, lane.due) for lane in store.agenda(now)]


# -- what is claimed -------------------------------------------------------------------------------------------


def test_due_letters_come_in_the_order_in_which_they_are_due(store: Store) -> None:
    put(store, 1, terms=Terms(due=NOW - 1))
    put(store, 2, terms=Terms(due=NOW - 2))
    put(store, 3, 4)
    assert ids(claim(store)) == [2, 1, 3, 4]


def test_a_claimed_letter_is_not_claimed_again_while_its_lease_runs(store: Store) -> None:
    put(store, 1, 2, 3)
    assert ids(claim(store, 2)) == [1, 2]
    assert ids(claim(store, now=NOW + LEASE - 0.001)) == [3]


def test_what_is_due_later_is_not_claimed(store: Store) -> None:
    put(store, 1, terms=Terms(due=NOW + 0.001))
    assert claim(store) == []
    assert ids(claim(store, now=NOW + 0.001)) == [1]


def test_a_claim_takes_only_its_lane(store: Store) -> None:
    put(store, 1)
    put(store, 2, terms=Terms(priority=0))
    put(store, 3, terms=Terms(transport="other"))
    assert ids(claim(store, priority=0)) == [2]
    assert ids(store.claim("other", 1, 9, now=NOW, lease=LEASE)) == [3]
    assert ids(claim(store)) == [1]


def test_a_worker_claims_only_what_carries_its_environment(store: Store) -> None:
    put(store, 1)
    staging = beside(store, "staging")
    put(staging, 2)
    assert lanes(staging) == [("default", 1, NOW)]
    assert ids(claim(staging)) == [2]
    assert ids(claim(store)) == [1]
    staging.dispose()


def test_a_claim_stops_before_it_takes_too_much_into_memory(store: Store) -> None:
    big = [(letter(number, attached=[bytes(100_000)]), Terms()) for number in range(3)]
    store.add(big, NOW)
    one, two = big[0][0].size, big[0][0].size + big[1][0].size
    taken = [
        ids(store.claim("default", 1, 9, now=NOW, lease=LEASE, budget=budget))
        for budget in (two - 1, one - 1, two)
    ]
    assert taken == [[0], [1], [2]]


def test_a_claim_takes_nothing_where_there_is_no_room_for_the_first(store: Store) -> None:
    store.add([(letter(1, attached=[bytes(100_000)]), Terms())], NOW)
    put(store, 2)
    nothing = store.claim("default", 1, 9, now=NOW, lease=LEASE, budget=100_000, one_always=False)
    assert nothing == []
    assert ids(claim(store)) == [1, 2]


def test_two_threads_never_claim_the_same_letter(store: Store) -> None:
    put(store, *range(200))
    claimed: list[int] = []

    def work() -> None:
        while taken := claim(store, 3):
            claimed.extend(ids(taken))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == list(range(200))


def test_a_claim_says_what_is_needed_to_decide(store: Store) -> None:
    worker = store.register_worker(NOW)
    put(store, 7, terms=Terms(expires=NOW + 99))
    (got,) = claim(store, now=NOW + 5)
    assert got.letter == letter(7)
    assert (got.attempts, got.rescues, got.created, got.expires) == (0, 0, NOW, NOW + 99)
    assert (got.lease_until, got.worker) == (NOW + 5 + LEASE, worker)
    assert got.recipients == {"user7@example.org": RecipientState.OPEN}


def test_every_claim_has_a_token_of_its_own(store: Store) -> None:
    put(store, 1, 2)
    (first,), (second,) = claim(store, 1), claim(store, 1)
    assert first.token != second.token


# -- leases ----------------------------------------------------------------------------------------------------


def test_when_a_lease_ends_the_letter_is_claimed_again_and_that_is_counted(store: Store) -> None:
    put(store, 1)
    claim(store)
    (again,) = claim(store, now=NOW + LEASE)
    assert (again.rescues, again.attempts) == (1, 0)
    (third,) = claim(store, now=NOW + 2 * LEASE)
    assert third.rescues == 2


def test_an_extended_lease_ends_later(store: Store) -> None:
    put(store, 1)
    (got,) = claim(store)
    assert store.extend([got], NOW + 100) == {got.delivery_id}
    assert claim(store, now=NOW + 99) == []
    assert ids(claim(store, now=NOW + 100)) == [1]


def test_a_lost_lease_cannot_be_extended(store: Store) -> None:
    put(store, 1, 2)
    lost, kept = claim(store)
    store.release([lost], NOW)
    (other,) = claim(store)
    assert store.extend([lost, kept], NOW + 100) == {kept.delivery_id}
    assert store.extend([other], NOW + 1) == {other.delivery_id}


def test_what_is_given_back_is_due_at_once_and_no_try_is_counted(store: Store) -> None:
    put(store, 1)
    (got,) = claim(store)
    store.release([got], NOW + 1)
    assert lanes(store) == [("default", 1, NOW + 1)]
    (again,) = claim(store, now=NOW + 1)
    assert (again.attempts, again.rescues) == (0, 0)


def test_who_has_lost_a_lease_cannot_give_it_back(store: Store) -> None:
    put(store, 1)
    (stale,) = claim(store)
    (holder,) = claim(store, now=NOW + LEASE)
    store.release([stale], NOW + LEASE)
    assert store.extend([holder], NOW + 99) == {holder.delivery_id}


# -- what must not go ------------------------------------------------------------------------------------------


def test_a_retry_is_only_for_the_recipients_still_open(store: Store) -> None:
    store.add([(letter(1, "a@example.org", "b@example.org", "c@example.org"), Terms())], NOW)
    (first,) = claim(store)
    outcomes = {"a@example.org": DEFERRED, "b@example.org": ACCEPTED, "c@example.org": DEFERRED}
    store.finish([result(first, outcomes)], NOW)
    (second,) = claim(store, now=NOW + 60)
    assert second.to == ("a@example.org", "c@example.org")
    assert second.recipients["b@example.org"] is RecipientState.ACCEPTED


def test_what_has_expired_ends_instead_of_being_sent(store: Store) -> None:
    put(store, 1, terms=Terms(expires=NOW + 10))
    put(store, 2)
    assert ids(claim(store, now=NOW + 10)) == [2]
    view = stored(store, 1)
    assert (view.state, view.finished) == ("expired", NOW + 10)
    assert (view.recipients[0].state, view.recipients[0].text) == (
        "refused",
        "It expired before it could be sent.",
    )


def test_what_expires_after_some_have_it_is_partly_sent(store: Store) -> None:
    sent = letter(1, "a@example.org", "b@example.org")
    store.add([(sent, Terms(expires=NOW + 45))], NOW)
    (got,) = claim(store)
    store.finish([result(got, {"a@example.org": ACCEPTED, "b@example.org": DEFERRED})], NOW)
    assert claim(store, now=NOW + 45) == []
    view = stored(store, 1)
    assert view.state == "partly sent"
    assert [recipient.state for recipient in view.recipients] == ["accepted", "refused"]


def test_no_more_expired_letters_end_at_once_than_a_claim_takes(store: Store) -> None:
    put(store, *range(5), terms=Terms(expires=NOW + 1))
    assert claim(store, 2, now=NOW + 1) == []
    assert len([number for number in range(5) if stored(store, number).state == "expired"]) == 2


def test_content_that_may_have_left_once_is_not_sent_again_where_once_is_the_most(
    store: Store,
) -> None:
    put(store, 1, 2, terms=Terms(guarantee="at_most_once"))
    marked, unmarked = claim(store)
    assert store.mark_content_started(marked, NOW)
    (again,) = claim(store, now=NOW + LEASE)
    assert again.delivery_id == unmarked.delivery_id
    view = stored(store, 1)
    assert (view.state, view.reason, view.finished) == ("uncertain", "answer lost", None)
    assert view.recipients[0].state == "uncertain"


def test_where_at_least_once_is_wanted_a_mark_changes_nothing(store: Store) -> None:
    put(store, 1)
    store.mark_content_started(*claim(store), now=NOW)
    assert ids(claim(store, now=NOW + LEASE)) == [1]


def test_a_recorded_result_takes_the_mark_away(store: Store) -> None:
    put(store, 1, terms=Terms(guarantee="at_most_once"))
    (got,) = claim(store)
    store.mark_content_started(got, NOW)
    store.finish([result(got, DEFERRED)], NOW)
    assert ids(claim(store, now=NOW + 60)) == [1]


def test_who_has_lost_the_lease_cannot_mark(store: Store) -> None:
    put(store, 1, terms=Terms(guarantee="at_most_once"))
    (stale,) = claim(store)
    claim(store, now=NOW + LEASE)
    assert not store.mark_content_started(stale, NOW + LEASE)


@pytest.mark.parametrize("content", [None, b"{}", b"no json", b'{"v": 99}', b'{"v": 1, "odd": 1}'])
def test_a_letter_that_cannot_be_read_is_held_and_the_others_go(
    store: Store, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    put(store, 1, 2)
    with store.database.transaction() as connection:
        broken = update(tables.letter).where(tables.letter.c.id == letter(1).id)
        connection.execute(broken.values(content=content))
    assert ids(claim(store)) == [2]
    view = stored(store, 1)
    assert (view.state, view.reason, view.recipients[0].state) == ("held", "unreadable", "open")


# -- the agenda ------------------------------------------------------------------------------------------------


def test_the_agenda_names_each_lane_with_its_first_due_letter(store: Store) -> None:
    for number, (transport, priority, later) in enumerate(
        [("b", 1, 5), ("b", 1, 3), ("a", 2, 9), ("a", 0, 7), ("a", 0, 8)]
    ):
        put(store, number, terms=Terms(transport, priority, NOW + later))
    assert lanes(store) == [("a", 0, NOW + 7), ("a", 2, NOW + 9), ("b", 1, NOW + 3)]


def test_the_agenda_of_an_empty_outbox_is_empty(store: Store) -> None:
    assert store.agenda(NOW) == []


def test_a_lane_whose_letters_have_ended_is_not_on_the_agenda(store: Store) -> None:
    put(store, 1)
    store.finish([result(*claim(store), ACCEPTED)], NOW)
    assert store.agenda(NOW) == []


def test_a_letter_being_sent_is_due_when_its_lease_ends(store: Store) -> None:
    put(store, 1)
    claim(store)
    assert lanes(store) == [("default", 1, NOW + LEASE)]


def test_a_paused_transport_says_so_on_the_agenda(store: Store) -> None:
    put(store, 1)
    put(store, 2, terms=Terms(transport="other"))
    store.pause("default", "maintenance", by="person")
    assert [(lane.transport, lane.paused) for lane in store.agenda(NOW)] == [
        ("default", True),
        ("other", False),
    ]


def test_a_lane_of_a_domain_belongs_to_its_transport(store: Store) -> None:
    put(store, 1)
    (lane,) = store.agenda(NOW)
    assert replace(lane, lane="smtp example.org").transport == "smtp"


def test_what_was_due_before_the_beginning_of_the_lane_is_left_to_the_next_look(
    store: Store,
) -> None:
    put(store, 1, now=NOW - 5)
    put(store, 2)
    (lane,) = store.agenda(NOW)
    assert lane.due == NOW - 5
    found = store.claim("default", 1, 10, now=NOW, lease=LEASE, begin=NOW)
    assert ids(found) == [2]
    assert ids(claim(store)) == [1]


# -- cost ------------------------------------------------------------------------------------------------------


def test_a_claim_is_four_statements_however_many_letters(
    store: Store, traced: Callable[[], list[str]]
) -> None:
    put(store, *range(30))
    before = len(traced())
    assert len(claim(store)) == 30
    assert [statement.split()[0] for statement in traced()[before:]] == [
        "BEGIN",
        "SELECT",
        "UPDATE",
        "SELECT",
        "SELECT",
        "COMMIT",
    ]


def test_a_claim_that_finds_nothing_is_one_statement(
    store: Store, traced: Callable[[], list[str]]
) -> None:
    claim(store)
    assert [statement.split()[0] for statement in traced()] == ["BEGIN", "SELECT", "COMMIT"]


Effort = Callable[[Callable[[], object]], int]


def test_the_agenda_costs_the_same_however_many_letters_wait(store: Store, effort: Effort) -> None:
    def agenda() -> int:
        return effort(lambda: store.agenda(NOW))

    put(store, 0)
    put(store, 1, terms=Terms("other", 2))
    agenda()
    few = agenda()
    put(store, *range(2, 1_000))
    put(store, *range(1_000, 2_000), terms=Terms("other", 2))
    assert agenda() == few


def test_a_claim_costs_the_same_however_many_letters_wait(store: Store, effort: Effort) -> None:
    def taken() -> int:
        return effort(lambda: claim(store, 10))

    put(store, *range(100, 140))
    taken()
    few = taken()
    put(store, *range(140, 2_000))
    assert taken() == few


def test_a_claim_of_single_letters_costs_the_same_however_many_wait(
    store: Store, effort: Effort
) -> None:
    def taken(*numbers: int) -> int:
        letters = [letter(number).id for number in numbers]
        return effort(lambda: store.claim("default", 1, 10, now=NOW, lease=30, letters=letters))

    put(store, *range(100, 140))
    taken(100, 139)
    few = taken(101, 138)
    put(store, *range(140, 2_000))
    assert taken(102, 1_999) < 1.1 * few


def test_a_claim_costs_the_same_behind_a_paused_lane(store: Store, effort: Effort) -> None:
    def taken() -> int:
        return effort(lambda: (store.agenda(NOW), claim(store, 10)))

    put(store, 1, terms=Terms("a"))
    put(store, *range(100, 150))
    store.pause("a", "maintenance", by="person")
    taken()
    few = taken()
    put(store, *range(1_000, 2_000), terms=Terms("a"))
    assert taken() == few


@pytest.mark.only("sqlite")
def test_large_attachments_are_read_one_letter_after_the_other(store: Store) -> None:
    """A driver has what it reads more than once, until the statement is over."""
    shared, read = b"x" * PORTION, list[str]()
    letters = [letter(number, attached=[shared, bytes([number]) * 1_000]) for number in (1, 2, 3)]
    store.add([(one, Terms()) for one in [*letters, letter(4), letter(5)]], NOW)

    def trace(connection: Connection, *_: object) -> None:
        connection.set_trace_callback(read.append)

    event.listen(store.database._ready().relaxed, "checkout", trace)
    claims = claim(store)
    assert [claim.letter.attachments for claim in claims[:3]] == [
        letter.attachments for letter in letters
    ]
    assert sum("mail_blob.data" in statement for statement in read) == 3
