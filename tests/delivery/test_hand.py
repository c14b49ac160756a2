"""What a worker has in hand."""

from __future__ import annotations

from itertools import count
from typing import NamedTuple, cast

from flask_outbox.delivery.carriage import Carriage
from flask_outbox.delivery.hand import MOST_AHEAD, Hand


class Claimed(NamedTuple):
    """As much of a claim as counts here."""

    delivery_id: int
    priority: int = 1
    transport: str = "default"


class Carried(NamedTuple):
    """As much of a carriage."""

    claim: Claimed


def a_hand(concurrency: int = 2, seconds: float = 0.0) -> Hand:
    return Hand(lambda transport: concurrency, lambda: seconds)


def take(hand: Hand, *claims: Claimed) -> None:
    for claim in claims:
        hand.take(cast(Carriage, Carried(claim)))


def test_the_urgent_ones_are_sent_first_and_the_older_of_two() -> None:
    hand = a_hand(3)
    take(hand, Claimed(1, priority=2), Claimed(2, priority=0), Claimed(3, priority=0))
    sent = [hand.next("default") for _ in range(3)]
    assert [carriage.claim.delivery_id for carriage in sent if carriage] == [2, 3, 1]


def test_no_more_are_sent_at_once_than_the_transport_takes() -> None:
    hand = a_hand(1)
    take(hand, Claimed(1), Claimed(2))
    assert hand.next("default") is not None
    assert hand.next("default") is None
    hand.carried("default")
    assert hand.next("default") is not None


def test_there_is_no_room_until_half_of_what_it_takes_is_free() -> None:
    hand = a_hand(4)
    take(hand, *map(Claimed, range(3)))
    assert hand.room("default") == 0
    hand.next("default")
    hand.carried("default")
    assert hand.room("default") == 2


def test_a_fast_server_is_claimed_ahead_for_up_to_a_limit() -> None:
    ticks = count()
    hand = Hand(lambda transport: 2, lambda: float(next(ticks)))
    for number in range(10_000):
        take(hand, Claimed(number))
        hand.next("default")
        hand.carried("default")
    assert hand.room("default") == 2 + MOST_AHEAD


def test_another_transport_has_room_of_its_own() -> None:
    hand = a_hand(1)
    take(hand, Claimed(1, transport="slow"))
    assert hand.next("default") is None
    assert hand.room("default") == 1


def test_what_was_not_started_can_be_given_back() -> None:
    hand = a_hand(1)
    take(hand, Claimed(1), Claimed(2))
    hand.next("default")
    unstarted = hand.unstarted("default")
    assert [claim.delivery_id for claim in unstarted] == [2]
    hand.drop(unstarted)
    assert list(hand.carriages) == [1]
