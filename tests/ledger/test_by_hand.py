"""What people do to a letter: they hold it, let it go, or race a worker for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Terms
from ledger.conftest import ACCEPTED, DEFERRED, NOW, beside, claim, ids, letter, put, result, stored

HANDS: dict[str, Callable[[Store, str], bool]] = {
    "cancelled": lambda store, one: store.cancel(one, NOW),
    "held": lambda store, one: store.hold(one, "by hand"),
}


@pytest.mark.parametrize("state", HANDS)
def test_each_letter_goes_to_the_worker_or_to_the_hand_and_never_to_both(
    store: Store, state: str
) -> None:
    put(store, *range(60))
    other, taken, won = beside(store), list[int](), list[int]()
    begun = threading.Barrier(2)

    def work() -> None:
        begun.wait()
        while claims := claim(store, 3):
            taken.extend(ids(claims))

    def hand() -> None:
        begun.wait()
        won.extend(n for n in reversed(range(60)) if HANDS[state](other, letter(n).id))

    threads = [threading.Thread(target=work), threading.Thread(target=hand)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken + won) == list(range(60))
    assert {stored(store, n).state for n in won} <= {state}
    assert {stored(store, n).state for n in taken} <= {"sending"}
    other.dispose()


def test_a_held_letter_is_not_sent_and_says_why(store: Store) -> None:
    put(store, 1, 2)
    assert store.hold(letter(1).id, "the price is wrong")
    assert ids(claim(store)) == [2]
    view = stored(store, 1)
    assert (view.state, view.reason) == ("held", "the price is wrong")


def test_a_released_letter_goes_on_with_the_tries_it_had(store: Store) -> None:
    put(store, 1, terms=Terms(expires=NOW + 9_999))
    store.finish([result(*claim(store), DEFERRED)], NOW)
    store.hold(letter(1).id, "by hand")
    assert store.release_held(letter(1).id)
    assert claim(store, now=NOW + 29) == []
    (again,) = claim(store, now=NOW + 30)
    assert (again.attempts, again.tried, again.expires) == (1, True, NOW + 9_999)


def test_what_was_never_tried_is_as_new_when_it_is_released(store: Store) -> None:
    put(store, 1, terms=Terms(due=NOW + 60, hold="wait for it"))
    assert store.release_held(letter(1).id)
    (got,) = claim(store, now=NOW + 60)
    assert not got.tried


def test_what_is_being_sent_or_over_or_unknown_cannot_be_held(store: Store) -> None:
    put(store, 1)
    (got,) = claim(store)
    assert not store.hold(letter(1).id, "late")
    store.finish([result(got, ACCEPTED)], NOW)
    assert not store.hold(letter(1).id, "late")
    assert not store.hold(letter(2).id, "late")


def test_only_what_is_held_can_be_released(store: Store) -> None:
    put(store, 1)
    assert not store.release_held(letter(1).id)
    assert not store.release_held(letter(2).id)
