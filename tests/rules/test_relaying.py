"""What a relay tells a queue of, and what it leaves to others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.rules.relaying import Due, LaneMemory, to_tell

NOW, PATIENCE = 1_000.0, 60.0


def sent(number: int, at: float) -> Due:
    """Of which its sender has told."""
    return Due(number, f"{number}", due=at, created=at)


def tried(number: int, due: float) -> Due:
    """Of which nobody has told: it is tried again, or was to be sent later."""
    return Due(number, f"{number}", due=due, created=due - 500)


def told(head: list[Due], memory: LaneMemory | None = None, now: float = NOW) -> list[int]:
    chosen = to_tell(head, memory or LaneMemory(), now=now, patience=PATIENCE)
    return [one.delivery_id for one in chosen]


def test_what_its_sender_has_told_of_is_left_to_it_for_a_while() -> None:
    assert told([sent(1, NOW - 61), sent(2, NOW - 60), sent(3, NOW - 59), sent(4, NOW)]) == [1, 2]


def test_what_nobody_has_told_of_is_told_at_once() -> None:
    assert told([tried(1, NOW - 1), tried(2, NOW)]) == [1, 2]


def test_nothing_is_told_twice_within_the_patience() -> None:
    memory = LaneMemory()
    head = [tried(1, NOW), sent(2, NOW - 61)]
    assert told(head, memory) == [1, 2]
    assert told(head, memory, NOW + 1) == []
    assert told(head, memory, NOW + PATIENCE) == [1, 2]


def test_what_was_told_and_tried_since_is_told_again_when_it_is_due() -> None:
    memory = LaneMemory()
    assert told([tried(1, NOW)], memory) == [1]
    assert told([tried(1, NOW + 2)], memory, NOW + 3) == [1]
    assert told([tried(1, NOW + 2)], memory, NOW + 4) == []


def test_what_found_its_lane_closed_is_told_when_that_opens() -> None:
    memory = LaneMemory()
    head = [tried(1, NOW), sent(2, NOW)]
    assert told(head, memory) == [1]
    memory.closed = NOW + 5
    assert told(head, memory, NOW + 6) == [1, 2]
    assert told(head, memory, NOW + 7) == []


def test_what_is_done_is_forgotten() -> None:
    memory = LaneMemory()
    told([tried(number, NOW) for number in range(100)], memory)
    told([tried(5, NOW)], memory, NOW + 1)
    assert memory.told.keys() == {5}


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 300)), max_size=20),
    st.lists(st.floats(0, 100), max_size=8),
)
def test_whatever_stays_due_is_told_within_the_patience(
    rows: list[tuple[int, float]], pauses: list[float]
) -> None:
    head = [
        Due(number, str(number), due=NOW - age, created=NOW - age - (kind > 2) * 100)
        for number, (kind, age) in enumerate(rows)
    ]
    memory, last = LaneMemory(), dict.fromkeys(range(len(head)), NOW)
    now = NOW
    for pause in pauses:
        now += pause
        for number in told(head, memory, now):
            assert now - last[number] >= min(PATIENCE, pause) or last[number] == NOW
            last[number] = now
        assert all(now - moment < PATIENCE + pause for moment in last.values())
