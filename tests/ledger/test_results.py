"""Results: written down once, by whoever holds the lease, for exactly the recipients they speak of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import select

from flask_outbox.ledger import tables
from flask_outbox.ledger.store import Claim, Finished, Store
from flask_outbox.mail.letter import Terms
from flask_outbox.rules.outcomes import Kind, Outcome, Phase, Report, Scope
from flask_outbox.rules.retry import Plan
from flask_outbox.rules.states import State
from ledger.conftest import (
    ACCEPTED,
    DEFERRED,
    LEASE,
    NOW,
    REFUSED,
    claim,
    ids,
    letter,
    put,
    result,
    stored,
)


def test_an_accepted_letter_is_sent(store: Store) -> None:
    put(store, 1)
    (got,) = claim(store)
    assert store.finish([result(got, ACCEPTED)], NOW + 1) == {got.delivery_id}
    view = stored(store, 1)
    assert (view.state, view.reason, view.finished, view.tries) == ("sent", "", NOW + 1, 1)
    (recipient,) = view.recipients
    assert (recipient.state, recipient.code, recipient.enhanced) == ("accepted", 250, "2.0.0")
    assert (recipient.text, recipient.remote_id, recipient.updated) == ("queued", "q1", NOW + 1)


def test_a_deferred_letter_is_due_again_later(store: Store) -> None:
    put(store, 1)
    (got,) = claim(store)
    store.finish([result(got, DEFERRED)], NOW)
    assert [lane.due for lane in store.agenda(NOW)] == [NOW + 30]
    (again,) = claim(store, now=NOW + 30)
    assert (again.attempts, again.rescues) == (1, 0)
    recipient = stored(store, 1).recipients[0]
    assert (recipient.state, recipient.code, recipient.text) == ("open", 451, "later")


def test_a_refused_letter_is_dead_with_the_servers_words(store: Store) -> None:
    put(store, 1)
    store.finish([result(*claim(store), REFUSED)], NOW)
    view = stored(store, 1)
    assert (view.state, view.reason) == ("dead", "refused")
    assert view.recipients[0].text == "no such user"


def test_a_group_of_results_is_written_at_once(store: Store) -> None:
    put(store, *range(6))
    claims = claim(store)
    outcomes = [ACCEPTED, DEFERRED, REFUSED] * 2
    results = [result(one, outcome) for one, outcome in zip(claims, outcomes, strict=True)]
    assert store.finish(results, NOW) == {one.delivery_id for one in claims}
    states = [stored(store, number).recipients[0].state for number in range(6)]
    assert states == ["accepted", "open", "refused"] * 2


def test_a_result_that_does_not_count_leaves_the_attempts(store: Store) -> None:
    put(store, 1)
    (got,) = claim(store)
    wrong = Outcome(Kind.REFUSED, Scope.ACCOUNT, code=535, text="wrong password")
    store.finish([result(got, wrong)], NOW)
    (again,) = claim(store, now=NOW + 60)
    assert again.attempts == 0
    assert [attempt.number for attempt in stored(store, 1).attempts] == [1]


def test_a_plan_without_a_report_is_written_without_an_attempt(store: Store) -> None:
    put(store, 1)
    (got,) = claim(store)
    plan = Plan(State.QUEUED, "not tried", due=NOW + 5, counts=False)
    store.finish([replace(result(got, ACCEPTED), report=Report(), plan=plan)], NOW)
    view = stored(store, 1)
    assert (view.attempts, view.reason, view.due) == ((), "not tried", NOW + 5)


def test_answers_that_no_recipient_asked_for_are_left_to_the_attempt(store: Store) -> None:
    put(store, 1)
    (got,) = claim(store)
    strange = {"user1@example.org": ACCEPTED, "stranger@example.org": REFUSED}
    store.finish([result(got, strange)], NOW)
    view = stored(store, 1)
    assert [recipient.address for recipient in view.recipients] == ["user1@example.org"]
    assert view.attempts[0].kind == "refused"


def test_a_remote_id_once_known_is_kept(store: Store) -> None:
    put(store, 1)
    store.finish([result(*claim(store), replace(DEFERRED, remote_id="q7"))], NOW)
    (again,) = claim(store, now=NOW + 60)
    store.finish([result(again, replace(ACCEPTED, remote_id=""))], NOW + 60)
    assert stored(store, 1).recipients[0].remote_id == "q7"


def test_what_a_server_says_is_kept_as_far_as_it_fits(store: Store) -> None:
    put(store, 1)
    odd = Outcome(
        Kind.REFUSED, text="a\0\udcff" + "x" * 600, enhanced="5" * 20, remote_id="r" * 300
    )
    store.finish([result(*claim(store), odd)], NOW)
    view = stored(store, 1)
    assert view.recipients[0].text == view.attempts[0].text == "a?" + "x" * 498
    assert view.recipients[0].remote_id == "r" * 200


# -- attempts --------------------------------------------------------------------------------------------------


def test_an_attempt_says_when_where_and_how_it_went(store: Store) -> None:
    put(store, 1)
    outcome = Outcome(Kind.UNKNOWN, Scope.TRANSPORT, Phase.AFTER, text="connection lost")
    store.finish([result(*claim(store), outcome)], NOW)
    (attempt,) = stored(store, 1).attempts
    assert (attempt.number, attempt.started, attempt.finished) == (1, NOW, NOW + 0.25)
    assert (attempt.kind, attempt.scope, attempt.phase) == ("unknown", "transport", "after")
    assert (attempt.text, attempt.transport, attempt.lease_lost) == (
        "connection lost",
        "default",
        False,
    )


def test_attempts_are_numbered_and_in_order(store: Store) -> None:
    put(store, 1)
    for number in range(3):
        later = NOW + number * 10_000
        store.finish([result(*claim(store, now=later), DEFERRED, now=later)], later)
    assert [attempt.number for attempt in stored(store, 1).attempts] == [1, 2, 3]


def test_where_recipients_differ_the_attempt_is_the_worst_and_holds_all(store: Store) -> None:
    store.add([(letter(1, "a@example.org", "b@example.org", "c@example.org"), Terms())], NOW)
    outcomes = {"a@example.org": ACCEPTED, "b@example.org": REFUSED, "c@example.org": DEFERRED}
    store.finish([result(*claim(store), outcomes)], NOW)
    assert stored(store, 1).attempts[0].kind == "refused"
    with store.database.snapshot() as connection:
        kept = json.loads(connection.execute(select(tables.attempt.c.outcomes)).scalar_one())
    assert {to: one["code"] for to, one in kept.items()} == {
        "a@example.org": 250,
        "b@example.org": 550,
        "c@example.org": 451,
    }


# -- leases ----------------------------------------------------------------------------------------------------


def test_a_stale_worker_changes_nothing_and_its_try_is_recorded_as_such(store: Store) -> None:
    put(store, 1)
    (stale,) = claim(store)
    (holder,) = claim(store, now=NOW + LEASE)
    assert store.finish([result(stale, REFUSED)], NOW + LEASE + 1) == set()
    view = stored(store, 1)
    assert (view.state, view.recipients[0].state) == ("sending", "open")
    assert [(attempt.kind, attempt.lease_lost) for attempt in view.attempts] == [("refused", True)]
    assert store.finish([result(holder, ACCEPTED)], NOW + LEASE + 2) == {holder.delivery_id}
    assert stored(store, 1).state == "sent"


def test_in_a_group_only_those_with_a_lost_lease_are_left_out(store: Store) -> None:
    put(store, 1, 2)
    lost, kept = claim(store)
    store.release([lost], NOW)
    results = [result(lost, ACCEPTED), result(kept, ACCEPTED)]
    assert store.finish(results, NOW) == {kept.delivery_id}
    assert [stored(store, number).state for number in (1, 2)] == ["queued", "sent"]


def test_a_result_is_not_written_twice(store: Store) -> None:
    put(store, 1)
    once = result(*claim(store), DEFERRED)
    store.finish([once], NOW)
    assert store.finish([once], NOW) == set()
    (again,) = claim(store, now=NOW + 60)
    assert again.attempts == 1


def test_what_was_cancelled_while_it_waited_cannot_be_finished(store: Store) -> None:
    put(store, 1)
    (got,) = claim(store)
    store.release([got], NOW)
    store.cancel(letter(1).id, NOW)
    assert store.finish([result(got, ACCEPTED)], NOW) == set()
    assert stored(store, 1).state == "cancelled"


# -- transcripts -----------------------------------------------------------------------------------------------


def failed(claim: Claim, transcript: str, outcome: Outcome = DEFERRED) -> Finished:
    one = result(claim, outcome, NOW)
    return replace(one, report=replace(one.report, transcript=transcript))


def transcripts(store: Store) -> list[str]:
    return [attempt.transcript for attempt in stored(store, 1).attempts]


def test_the_transcript_of_the_last_try_is_kept_and_those_before_are_removed(store: Store) -> None:
    put(store, 1, 2)
    first, other = claim(store)
    store.finish([failed(first, "one"), failed(other, "another")], NOW)
    assert transcripts(store) == ["one"]
    (again, _) = claim(store, now=NOW + 60)
    store.finish([failed(again, "two")], NOW + 60)
    assert transcripts(store) == ["", "two"]
    assert stored(store, 2).attempts[0].transcript == "another"


def test_a_success_removes_the_transcript_of_the_try_before(store: Store) -> None:
    put(store, 1)
    store.finish([failed(*claim(store), "one")], NOW)
    store.finish([result(*claim(store, now=NOW + 60), ACCEPTED)], NOW + 60)
    assert transcripts(store) == ["", ""]


def test_a_try_that_did_not_count_leaves_its_transcript_to_the_next(store: Store) -> None:
    put(store, 1)
    wrong = Outcome(Kind.REFUSED, Scope.ACCOUNT, code=535, text="wrong password")
    store.finish([failed(*claim(store), "one", wrong)], NOW)
    assert transcripts(store) == ["one"]
    store.finish([result(*claim(store, now=NOW + 60), ACCEPTED)], NOW + 60)
    assert transcripts(store) == ["", ""]


def test_a_retry_by_hand_keeps_the_transcript_until_it_was_tried(store: Store) -> None:
    put(store, 1)
    store.finish([failed(*claim(store), "one", REFUSED)], NOW)
    assert store.retry(letter(1).id, NOW + 1)
    assert transcripts(store) == ["one"]
    store.finish([failed(*claim(store, now=NOW + 1), "two", REFUSED)], NOW + 2)
    assert transcripts(store) == ["", "two"]


def test_a_transcript_is_kept_as_far_as_it_fits(store: Store) -> None:
    put(store, 1)
    store.finish([failed(*claim(store), "x" * 10_000)], NOW)
    assert transcripts(store) == ["x" * 8_000]


# -- cost ------------------------------------------------------------------------------------------------------


def test_a_group_of_results_is_four_statements(
    store: Store, traced: Callable[[], list[str]]
) -> None:
    put(store, *range(20))
    claims = claim(store)
    before = len(traced())
    store.finish([result(one, ACCEPTED) for one in claims], NOW)
    assert traced()[before:] == [
        "BEGIN IMMEDIATE",
        "SELECT mail_delivery.id FROM",
        "UPDATE mail_delivery SET",
        "UPDATE mail_recipient SET",
        "INSERT INTO mail_attempt",
        "COMMIT",
    ]
    assert ids(claims) == list(range(20))
