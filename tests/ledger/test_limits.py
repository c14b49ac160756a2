"""Limits in the database: what they let out, what they cost, and what several workers make of them together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from math import inf

import pytest
from sqlalchemy import func, select

from flask_outbox.ledger import tables
from flask_outbox.ledger.limits import Shift
from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.store import Claim, Store
from flask_outbox.mail.letter import Terms
from flask_outbox.rules.limits import Breaker, Limit, Limits
from flask_outbox.rules.outcomes import Kind, Outcome, Scope
from ledger.conftest import ACCEPTED, LEASE, NOW, claim, ids, letter, put, result

LIMITS = Limits(
    {"default": Limit(minute=5)},
    {"slow.org": Limit(minute=2), "narrow.org": Limit(connections=1)},
    Breaker(3, pause=30),
)

BROKEN = Outcome(Kind.DEFERRED, Scope.TRANSPORT, text="connection refused")
REFUSED = Outcome(Kind.REFUSED, code=550)


@pytest.fixture
def open_store(database: str) -> Iterator[Callable[..., Store]]:
    """More of the same database, each as another process has it."""
    stores: list[Store] = []

    def another(limits: Limits = LIMITS) -> Store:
        stores.append(Store(database, limits=limits))
        stores[-1].register_worker(NOW)
        return stores[-1]

    yield another
    for store in stores:
        store.dispose()


@pytest.fixture
def limited(open_store: Callable[..., Store]) -> Store:
    return open_store()


def to(store: Store, number: int, *recipients: str) -> None:
    store.add([(letter(number, *recipients), Terms())], NOW)


def take(store: Store, lane: str = "default", now: float = NOW, most: int = 100) -> list[Claim]:
    """As a worker claims: only from what is open."""
    its = [one for one in store.agenda(now) if one.lane == lane]
    if not its or its[0].paused:
        return []
    return store.claim(lane, 1, most, now=now, lease=LEASE)


def opens(store: Store, now: float = NOW) -> dict[str, float | None]:
    return {lane.lane: lane.opens for lane in store.agenda(now)}


def fail(store: Store, claims: list[Claim], now: float = NOW) -> list[Shift]:
    shifts: list[Shift] = []
    store.finish([result(one, BROKEN, now) for one in claims], now, shifts.append)
    return shifts


def rows(store: Store) -> int:
    with store.database.snapshot() as connection:
        return int(connection.execute(select(func.count()).select_from(tables.limit)).scalar_one())


# -- rates -----------------------------------------------------------------------------------------------------


def test_no_more_is_claimed_than_the_limit_and_the_rest_when_its_window_is_over(
    limited: Store,
) -> None:
    put(limited, *range(8))
    claims = take(limited)
    assert ids(claims) == [0, 1, 2, 3, 4]
    limited.finish([result(one, ACCEPTED) for one in claims], NOW)
    assert opens(limited) == {"default": NOW + 60}
    assert take(limited, now=NOW + 59.9) == []
    assert ids(take(limited, now=NOW + 60)) == [5, 6, 7]


def test_the_workers_of_an_outbox_share_its_limits(open_store: Callable[..., Store]) -> None:
    put(open_store(), *range(40))
    taken: list[int] = []

    def work(store: Store) -> None:
        for _ in range(6):
            taken.extend(ids(store.claim("default", 1, 2, now=NOW, lease=LEASE)))

    threads = [threading.Thread(target=work, args=(open_store(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 5


def test_only_what_was_found_is_spent(limited: Store) -> None:
    put(limited, 1, 2)
    assert len(take(limited)) == 2
    put(limited, *range(10, 20))
    assert len(take(limited)) == 3


def test_what_expired_is_not_spent(limited: Store) -> None:
    put(limited, *range(5), terms=Terms(expires=NOW - 1))
    put(limited, *range(5, 10))
    assert take(limited) == []
    assert len(take(limited)) == 5


def test_what_is_given_back_untried_may_go_at_once(limited: Store) -> None:
    put(limited, *range(8))
    claims = take(limited)
    limited.release(claims[3:], NOW + 1)
    assert opens(limited, NOW + 1) == {"default": None}
    assert len(take(limited, now=NOW + 1)) == 2
    assert take(limited, now=NOW + 2) == []


def test_a_closed_lane_burns_no_attempt(limited: Store) -> None:
    put(limited, *range(6))
    take(limited)
    take(limited, now=NOW + 1)
    (view,) = Reports(limited).list(state="queued")
    assert (view.tries, view.attempts) == (0, ())


def test_who_claims_in_between_is_told_when_it_opens(limited: Store) -> None:
    put(limited, *range(8))
    take(limited)
    told: list[float] = []
    limited.claim("default", 1, 9, now=NOW + 1, lease=LEASE, shut=told.append)
    assert told == [NOW + 60]


def test_another_transport_goes_on(limited: Store) -> None:
    put(limited, *range(6))
    put(limited, *range(10, 20), terms=Terms("other"))
    take(limited)
    assert len(take(limited, "other")) == 10


def test_a_limit_that_was_raised_counts_from_the_next_worker_on(
    open_store: Callable[..., Store],
) -> None:
    before, after = open_store(), open_store(Limits({"default": Limit(minute=7)}))
    put(before, *range(8))
    take(before)
    after.reopen()
    assert len(take(after)) == 2


def test_a_limit_is_kept_for_each_environment(open_store: Callable[..., Store]) -> None:
    store = open_store()
    staging = Store(
        store.database.url.render_as_string(hide_password=False), env="staging", limits=LIMITS
    )
    for one in (store, staging):
        one.add([(letter(n + 100 * (one is staging)), Terms()) for n in range(8)], NOW)
    assert (len(take(store)), len(take(staging))) == (5, 5)
    staging.dispose()


# -- domains ---------------------------------------------------------------------------------------------------


def test_a_domain_with_a_limit_does_not_hold_up_the_others(limited: Store) -> None:
    for number in range(4):
        to(limited, number, f"user{number}@Slow.org")
    put(limited, 10)
    assert ids(take(limited, "default slow.org")) == [0, 1]
    assert opens(limited) == {"default": None, "default slow.org": NOW + 60}
    assert ids(take(limited)) == [10]


def test_the_transports_limit_counts_for_its_domains_too(limited: Store) -> None:
    put(limited, *range(9))
    take(limited)
    to(limited, 10, "user@slow.org")
    assert opens(limited) == {"default": NOW + 60, "default slow.org": NOW + 60}


def test_a_letter_to_several_domains_waits_for_them_all(limited: Store) -> None:
    to(limited, 1, "a@slow.org", "a@narrow.org")
    to(limited, 2, "b@narrow.org", "b@slow.org", "b@example.org")
    to(limited, 3, "c@slow.org")
    both = "default narrow.org slow.org"
    assert ids(take(limited, both)) == [1]
    assert take(limited, both) == []
    assert ids(take(limited, "default slow.org")) == [3]
    assert take(limited, both, NOW + 59) == []
    assert opens(limited, NOW + 1)["default slow.org"] is not None


def test_a_pause_of_a_transport_closes_the_lanes_of_its_domains(limited: Store) -> None:
    to(limited, 1, "a@slow.org")
    limited.pause("default", "maintenance", by="person")
    assert [lane.paused for lane in limited.agenda(NOW)] == [True]


# -- connections -----------------------------------------------------------------------------------------------


def test_no_more_letters_are_under_way_than_connections(limited: Store) -> None:
    for number in range(3):
        to(limited, number, f"user{number}@narrow.org")
    lane = "default narrow.org"
    (first,) = take(limited, lane)
    told: list[float] = []
    assert limited.claim(lane, 1, 9, now=NOW, lease=LEASE, shut=told.append) == []
    assert told == [inf]
    limited.finish([result(first, ACCEPTED)], NOW)
    assert ids(take(limited, lane)) == [1]


def test_a_connection_of_a_dead_worker_is_free_when_its_lease_is_over(limited: Store) -> None:
    to(limited, 1, "a@narrow.org")
    to(limited, 2, "b@narrow.org")
    take(limited, "default narrow.org")
    assert len(take(limited, "default narrow.org", NOW + LEASE)) == 1


# -- breakers --------------------------------------------------------------------------------------------------


def broken(store: Store) -> list[Shift]:
    """Three tries in a row that fail by the fault of the transport, over another one than has a rate."""
    put(store, *range(10), terms=Terms("other"))
    return fail(store, take(store, "other", most=3))


def test_a_breaker_opens_after_so_many_failures_and_says_so_once(limited: Store) -> None:
    assert broken(limited) == [Shift("other", 3, NOW + 30)]
    assert opens(limited)["other"] == NOW + 30
    assert take(limited, "other", NOW + 29) == []


def test_failures_of_other_kinds_in_between_count_from_anew(limited: Store) -> None:
    put(limited, *range(10), terms=Terms("other"))
    two, one, two_more = (take(limited, "other", most=most) for most in (2, 1, 2))
    fail(limited, two)
    limited.agenda(NOW)
    limited.finish([result(one[0], REFUSED)], NOW)
    assert fail(limited, two_more) == []
    assert opens(limited)["other"] is None


def test_the_failures_of_all_workers_count_together(open_store: Callable[..., Store]) -> None:
    one, other = open_store(), open_store()
    put(one, *range(3), terms=Terms("other"))
    assert fail(one, take(one, "other", most=2)) == []
    assert fail(other, take(other, "other")) == [Shift("other", 3, NOW + 30)]


def test_after_the_pause_a_single_letter_tries(open_store: Callable[..., Store]) -> None:
    one, other = open_store(), open_store()
    broken(one)
    later = NOW + 30
    for store in (one, other):
        store.agenda(later)
    tried = [len(store.claim("other", 1, 9, now=later, lease=LEASE)) for store in (one, other, one)]
    assert tried == [1, 0, 0]
    assert opens(one, later)["other"] == later + LEASE


def test_its_success_closes_the_breaker(limited: Store) -> None:
    broken(limited)
    (probe,) = take(limited, "other", NOW + 30)
    limited.agenda(NOW + 31)
    shifts: list[Shift] = []
    limited.finish([result(probe, ACCEPTED, NOW + 31)], NOW + 31, shifts.append)
    assert shifts == [Shift("other", 0, None)]
    assert len(take(limited, "other", NOW + 31)) == 9


def test_its_failure_opens_it_for_as_long_again_and_is_not_news(limited: Store) -> None:
    broken(limited)
    assert fail(limited, take(limited, "other", NOW + 30), NOW + 31) == []
    assert opens(limited, NOW + 32)["other"] == NOW + 61


def test_a_probe_that_is_given_back_lets_another_one_try(limited: Store) -> None:
    broken(limited)
    limited.release(take(limited, "other", NOW + 30), NOW + 31)
    assert len(take(limited, "other", NOW + 31)) == 1


def test_what_is_given_back_when_the_breaker_opens_does_not_open_it_again(limited: Store) -> None:
    put(limited, *range(10), terms=Terms("other"))
    claims = take(limited, "other")
    fail(limited, claims[:3], NOW + 1)
    limited.release(claims[3:], NOW + 2)
    assert opens(limited, NOW + 2)["other"] == NOW + 31


def test_a_probe_whose_worker_dies_keeps_the_others_only_until_its_lease_ends(
    limited: Store,
) -> None:
    broken(limited)
    take(limited, "other", NOW + 30)
    assert take(limited, "other", NOW + 59) == []
    assert len(take(limited, "other", NOW + 60)) == 1


def test_a_worker_that_starts_tries_at_once(limited: Store) -> None:
    broken(limited)
    limited.reopen()
    assert len(take(limited, "other")) == 1


def test_who_resumes_it_by_hand_lets_everything_try(limited: Store) -> None:
    broken(limited)
    assert limited.resume("other")
    assert len(take(limited, "other")) == 7
    assert not limited.resume("other")


def test_the_status_tells_what_holds_mail_back(limited: Store) -> None:
    broken(limited)
    put(limited, *range(100, 106))
    take(limited)
    closed = Reports(limited).status(NOW).closed
    assert [(one.lane, one.opens, one.failures) for one in closed] == [
        ("default", NOW + 60, 0),
        ("other", NOW + 30, 3),
    ]


def test_of_a_transport_that_failed_nothing_is_told_once_nothing_waits_for_it(
    limited: Store,
) -> None:
    put(limited, 1, terms=Terms("smtp://127.0.0.1:1"))
    fail(limited, take(limited, "smtp://127.0.0.1:1"))
    assert [one.failures for one in Reports(limited).status(NOW).closed] == [1]
    limited.cancel(letter(1).id, NOW)
    assert Reports(limited).status(NOW).closed == ()


# -- cost ------------------------------------------------------------------------------------------------------

Traced = Callable[[], list[str]]


def test_without_a_limit_there_is_no_row(store: Store) -> None:
    put(store, *range(5))
    fail(store, claim(store, 3))
    store.release(claim(store), NOW)
    store.finish([result(one, ACCEPTED) for one in claim(store)], NOW)
    assert rows(store) == 0


def test_with_a_breaker_what_succeeds_costs_no_statement_and_no_row(
    store: Store, traced: Traced
) -> None:
    def life(first: int) -> list[str]:
        """All that happens to letters whose transport is well."""
        before = len(traced())
        put(store, first, first + 1)
        store.agenda(NOW)
        held = claim(store)
        store.extend(held, NOW + LEASE)
        store.release(held, NOW)
        store.agenda(NOW)
        store.finish([result(one, ACCEPTED) for one in claim(store)], NOW)
        return traced()[before:]

    plain = life(1)
    store._limits = Limits(breaker=Breaker(5))
    assert life(3) == plain
    assert rows(store) == 0


def test_a_claim_under_a_rate_costs_two_statements_more(store: Store, traced: Traced) -> None:
    put(store, *range(9))
    store._limits = LIMITS
    claim(store, 2)  # which makes the row
    before = len(traced())
    claim(store, 2)
    assert [statement.split()[0] for statement in traced()[before:]] == [
        "BEGIN",
        "SELECT",
        "SELECT",
        "UPDATE",
        "SELECT",
        "SELECT",
        "UPDATE",
        "COMMIT",
    ]
