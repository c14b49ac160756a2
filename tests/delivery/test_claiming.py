"""One look at the lanes: whose turn it is, and for how long the others wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from math import inf
from pathlib import Path

import pytest

from delivery.conftest import letter
from flask_outbox.delivery import claiming
from flask_outbox.delivery.claiming import FAIR, Claimer
from flask_outbox.delivery.hand import Room, Share
from flask_outbox.ledger.store import Claim, Store
from flask_outbox.mail.letter import Terms
from flask_outbox.rules.limits import Limit, Limits

NOW = 1_700_000_000.0

_numbers = count(1)


def fill(store: Store, priority: int, letters: int = 1, transport: str = "default") -> None:
    terms = Terms(transport, priority)
    store.add([(letter(next(_numbers)), terms) for _ in range(letters)], store.now())


def a_room(most: int = 1, **known: Share) -> Room:
    share = Share(most, most)
    shares = {"default": share, **known}
    return Room(shares, spare=0, report_unknown=False, bytes=10**9, empty=True)


def look(claimer: Claimer, room: Room | None = None) -> list[Claim]:
    return claimer.claim(room or a_room(), inf)[0]


class Still(Store):
    """Its clock stands still."""

    def now(self) -> float:
        return NOW


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Still(f"sqlite:///{tmp_path}/outbox.sqlite")
    yield store
    store.dispose()


@pytest.fixture
def claimer(store: Store) -> Claimer:
    return Claimer(store, 30.0, lambda ended: None)


def priorities(claims: Sequence[Claim]) -> list[int]:
    return [claim.priority for claim in claims]


def test_an_urgent_letter_is_the_next_claim_whatever_is_in_front(
    store: Store, claimer: Claimer
) -> None:
    fill(store, 1, 300)
    fill(store, 2, 300)
    for _ in range(5):
        look(claimer)
    fill(store, 0)
    assert priorities(look(claimer) + look(claimer)).count(0) == 1


def test_each_lower_priority_keeps_one_claim_in_ten(store: Store, claimer: Claimer) -> None:
    for priority in range(3):
        fill(store, priority, 100)
    claimed = Counter(priorities([claim for _ in range(100) for claim in look(claimer)]))
    assert claimed == {0: 80, 1: 10, 2: 10}


def test_urgent_letters_never_wait_for_more_than_two_looks(store: Store, claimer: Claimer) -> None:
    for priority in range(3):
        fill(store, priority, 60)
    looks = [priorities(look(claimer)) for _ in range(4 * FAIR)]
    assert all([0] in looks[n : n + 3] for n in range(len(looks) - 2))


def test_where_nothing_urgent_waits_the_others_share_alike(store: Store, claimer: Claimer) -> None:
    fill(store, 1, 60)
    fill(store, 2, 60)
    claimed = Counter(priorities([claim for _ in range(50) for claim in look(claimer)]))
    assert claimed == {1: 45, 2: 5}


def limited(store: Store, **transports: Limit) -> None:
    store._limits = Limits(transports)


def test_a_lane_without_tokens_does_not_keep_the_others(store: Store, claimer: Claimer) -> None:
    limited(store, default=Limit(hour=2))
    fill(store, 1, 5)
    fill(store, 1, 5, transport="other")
    both = [look(claimer, a_room(8, other=Share(8, 8))) for _ in range(2)]
    assert [Counter(claim.transport for claim in claims) for claims in both] == [
        {"default": 2, "other": 5},
        {},
    ]


def test_of_what_a_limit_lets_out_the_urgent_go_first(store: Store, claimer: Claimer) -> None:
    limited(store, default=Limit(hour=3))
    fill(store, 1, 5)
    fill(store, 0, 2)
    assert priorities(look(claimer, a_room(8))) == [0, 0, 1]


def test_the_next_look_is_when_the_lane_opens(store: Store, claimer: Claimer) -> None:
    limited(store, default=Limit(minute=1))
    fill(store, 1, 2)
    look(claimer)
    room = a_room()
    assert claimer.claim(room, inf)[1] == NOW + 60
    assert not room.short


def test_who_drains_once_waits_for_a_lane_that_opens_soon(store: Store, claimer: Claimer) -> None:
    limited(store, default=Limit(second=1))
    fill(store, 1, 2)
    look(claimer)
    room = a_room()
    assert claimer.claim(room, inf)[0] == []
    assert room.short


def test_nobody_waits_for_a_lane_that_there_is_no_room_for(store: Store, claimer: Claimer) -> None:
    limited(store, other=Limit(second=1))
    fill(store, 1, 2, transport="other")
    look(claimer, a_room(other=Share(1, 1)))
    room = a_room()
    assert claimer.claim(room, inf) == ([], inf)
    assert not room.short


def test_a_lane_that_is_full_of_connections_is_not_taken_for_a_letter_too_large(
    store: Store, claimer: Claimer
) -> None:
    store.register_worker(store.now())
    limited(store, default=Limit(connections=1))
    fill(store, 1, 3)
    fill(store, 2, 3)
    assert len(look(claimer, a_room(8))) == 1
    room = a_room(8)
    room.empty = False
    assert claimer.claim(room, inf) == ([], inf)
    assert not room.full


# -- a database that hangs -------------------------------------------------------------------------------------


def test_a_look_that_had_to_wait_takes_nothing_whose_lease_ran_when_it_was_to_be_made(
    store: Store, claimer: Claimer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the worker's own, which could not extend it meanwhile."""
    fill(store, 1, 2)
    (own,) = store.claim("default", 1, 1, now=NOW, lease=30.0)
    room = a_room(8)
    monkeypatch.setattr(store, "now", lambda: NOW + 60)
    monkeypatch.setattr(claiming, "boot_clock", lambda: room.since + 60)
    (other,) = look(claimer, room)
    assert other.delivery_id != own.delivery_id
    monkeypatch.setattr(claiming, "boot_clock", lambda: room.since)
    assert own.delivery_id in {one.delivery_id for one in look(claimer, room)}
