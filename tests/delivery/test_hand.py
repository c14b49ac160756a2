"""What a worker has in hand."""

from __future__ import annotations

from itertools import count
from typing import NamedTuple, cast

import pytest

from flask_outbox.delivery.carriage import Carriage
from flask_outbox.delivery.hand import MOST_AHEAD, Hand, Room, Share
from flask_outbox.ledger.store import Claim


class Weighed(NamedTuple):
    """As much of a letter."""

    size: int


class Claimed(NamedTuple):
    """As much of a claim as counts here."""

    delivery_id: int
    priority: int = 1
    transport: str = "default"
    letter: Weighed = Weighed(1_000)
    token: int = 1


class Carried(NamedTuple):
    """As much of a carriage."""

    claim: Claimed

    def lose(self) -> None:
        """The lease is no longer ours."""


def a_hand(concurrency: int = 2, seconds: float = 0.0, kept: int = 0) -> Hand:
    return Hand(lambda transport: concurrency, lambda transport: kept, lambda: seconds)


def take(hand: Hand, *claims: Claimed) -> None:
    for claim in claims:
        hand.take(cast(Carriage, Carried(claim)))


def carry(hand: Hand, transport: str = "default") -> bool:
    """Whether one could be sent, and was."""
    carriage = hand.next(transport)
    if carriage:
        hand.carried(carriage.claim)
    return bool(carriage)


def numbers(count: int, priority: int = 1) -> list[Claimed]:
    return [Claimed(100 * priority + number, priority) for number in range(count)]


def test_the_urgent_ones_are_sent_first_and_the_older_of_two() -> None:
    hand = a_hand(3)
    take(hand, Claimed(1, priority=2), Claimed(2, priority=0), Claimed(3, priority=0))
    sent = [hand.next("default") for _ in range(3)]
    assert [carriage.claim.delivery_id for carriage in sent if carriage] == [2, 3, 1]


def test_what_was_lost_and_is_claimed_again_takes_the_place_of_what_is_still_in_hand() -> None:
    """Others had it meanwhile, and have given it back; what comes of the former claim is nobody's business any more."""
    hand = a_hand(1)
    former, anew = Claimed(1, token=1), Claimed(1, token=2)
    take(hand, former, Claimed(2), anew)
    assert (len(hand), hand.size) == (2, 2_000)
    sent = hand.next("default")
    assert sent is not None
    assert sent.claim == anew
    hand.carried(sent.claim)
    hand.drop([cast(Claim, former)])
    assert {claim.delivery_id for claim in hand.claims} == {1, 2}
    hand.drop([cast(Claim, anew), cast(Claim, Claimed(2))])
    assert (len(hand), hand.size) == (0, 0)
    assert carry(hand)  # the other one was started before it was dropped
    assert not hand.transports


def test_what_was_lost_while_it_is_sent_is_sent_again_beside_it() -> None:
    hand = a_hand(2)
    former, anew = Claimed(1, token=1), Claimed(1, token=2)
    take(hand, former)
    first = hand.next("default")
    take(hand, anew)
    second = hand.next("default")
    assert first is not None
    assert second is not None
    assert (first.claim, second.claim) == (former, anew)
    hand.carried(first.claim)
    hand.drop([first.claim])
    assert (len(hand), hand.size) == (1, 1_000)


def test_no_more_are_sent_at_once_than_the_transport_takes() -> None:
    hand = a_hand(1)
    take(hand, Claimed(1), Claimed(2))
    first = hand.next("default")
    assert first is not None
    assert hand.next("default") is None
    hand.carried(first.claim)
    assert hand.next("default") is not None


def test_there_is_no_room_until_half_of_what_it_takes_is_free() -> None:
    hand = a_hand(4)
    take(hand, *map(Claimed, range(3)))
    assert hand.room("default") == (0, 0)
    assert carry(hand)
    assert hand.room("default") == (2, 2)


def test_a_fast_server_is_claimed_ahead_for_up_to_a_limit() -> None:
    ticks = count()
    hand = Hand(lambda transport: 2, lambda transport: 0, lambda: float(next(ticks)))
    for number in range(10_000):
        take(hand, Claimed(number))
        assert carry(hand)
    assert hand.room("default").others == 2 + MOST_AHEAD


def test_another_transport_has_room_of_its_own() -> None:
    hand = a_hand(1)
    take(hand, Claimed(1, transport="slow"))
    assert hand.next("default") is None
    assert hand.room("default") == (1, 1)


def test_what_was_not_started_can_be_given_back() -> None:
    hand = a_hand(1)
    take(hand, Claimed(1), Claimed(2))
    hand.next("default")
    unstarted = hand.unstarted("default")
    assert [claim.delivery_id for claim in unstarted] == [2]
    hand.drop(unstarted)
    assert list(hand.carriages) == [1]


def test_nothing_is_remembered_of_a_transport_whose_letters_are_through() -> None:
    hand = a_hand()
    take(hand, Claimed(1, transport="passing"))
    assert carry(hand, "passing")
    assert hand.transports == set()


# -- what is kept for urgent letters -------------------------------------------------------------------------------


def test_urgent_letters_find_room_when_the_others_have_filled_theirs() -> None:
    hand = a_hand(8, kept=2)
    assert hand.room("default") == (8, 6)
    take(hand, *numbers(6))
    assert hand.room("default") == (2, 0)
    take(hand, *numbers(1, priority=0))
    assert hand.room("default") == (1, 0)


def test_what_is_kept_is_kept_once() -> None:
    hand = a_hand(8, kept=2)
    take(hand, *numbers(6), *numbers(2, priority=0))
    assert hand.room("default") == (0, 0)


def test_urgent_letters_may_fill_all_of_it() -> None:
    hand = a_hand(8, kept=2)
    take(hand, *numbers(8, priority=0)[:4])
    assert hand.room("default") == (4, 4)
    take(hand, *numbers(8, priority=0)[4:])
    assert hand.room("default") == (0, 0)


def test_letters_that_are_not_urgent_leave_what_is_kept() -> None:
    hand = a_hand(4, kept=2)
    take(hand, *numbers(4))
    assert [hand.next("default") is not None for _ in range(3)] == [True, True, False]
    take(hand, *numbers(1, priority=0))
    assert hand.next("default") is not None


def test_what_was_cut_off_takes_no_room() -> None:
    hand = a_hand(4, kept=2)
    take(hand, *numbers(2), *numbers(2, priority=0))
    hand.start_nothing()
    assert hand.room("default") == (4, 2)
    assert len(hand) == 4


# -- bytes -----------------------------------------------------------------------------------------------------------


def test_what_is_in_hand_is_weighed_until_it_is_over() -> None:
    hand = a_hand()
    claims = [Claimed(1, letter=Weighed(3)), Claimed(2, letter=Weighed(4))]
    take(hand, *claims)
    assert carry(hand)
    assert hand.size == 7
    hand.drop([cast(Claim, claims[0])])
    hand.drop([cast(Claim, claims[0])])
    assert hand.size == 4
    hand.clear()
    assert hand.size == 0


# -- room ------------------------------------------------------------------------------------------------------------


def a_room(*, bytes: int = 10_000, empty: bool = True, spare: int = 0, **known: Share) -> Room:
    return Room(known, spare=spare, report_unknown=True, bytes=bytes, empty=empty)


def claimed(*claims: Claimed) -> list[Claim]:
    return [cast(Claim, claim) for claim in claims]


def test_urgent_letters_use_what_is_kept_first() -> None:
    assert Share(8, 6).less(2, priority=0) == (6, 6)
    assert Share(8, 6).less(3, priority=0) == (5, 5)
    assert Share(8, 6).less(3, priority=1) == (5, 3)


def test_what_is_claimed_needs_room_of_letters_and_bytes() -> None:
    room = a_room(default=Share(4, 2))
    room.take("default", 1, claimed(Claimed(1, letter=Weighed(4_000))))
    assert (room.of("default", 0), room.of("default", 1)) == (3, 1)
    assert (room.bytes, room.empty) == (6_000, False)


def test_with_something_in_hand_there_may_be_no_room_for_a_byte() -> None:
    assert a_room(bytes=0, empty=False).full
    assert not a_room(bytes=0, empty=True).full


@pytest.mark.parametrize(
    ("room", "interval"),
    [
        (a_room(default=Share(2, 0), other=Share(1, 1)), 0),
        (a_room(default=Share(2, 0)), 0.02),
        (a_room(default=Share(0, 0), spare=1), 1),
        (a_room(default=Share(0, 0)), float("inf")),
        (a_room(default=Share(2, 2), bytes=0, empty=False), float("inf")),
    ],
)
def test_the_less_a_look_promises_the_rarer_it_is(room: Room, interval: float) -> None:
    assert room.interval(poll=1) == interval


def test_what_is_due_and_finds_no_room_is_noted() -> None:
    room = a_room(default=Share(1, 0))
    assert room.offered("default", 0)
    assert not room.short
    assert not room.offered("default", 1)
    assert room.short
