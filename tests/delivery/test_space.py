"""Room in memory, and the line before it."""

from __future__ import annotations

import pytest

from delivery.conftest import letter
from flask_outbox.delivery.settings import BacklogSettings
from flask_outbox.delivery.space import Space
from flask_outbox.errors import BacklogFullError


def space(letters: int = 2) -> Space:
    return Space(BacklogSettings(letters=letters))


def nothing() -> None: ...


def test_what_is_gone_leaves_room() -> None:
    room = space()
    assert room.take([letter(1), letter(2)])
    assert not room.take([letter(3)])
    room.free(letter(1))
    assert room.take([letter(3)])
    assert len(room) == 2


def test_the_line_is_served_in_its_order() -> None:
    room = space(1)
    room.take([letter(1)])
    first, second = room.wait([letter(2)], nothing), room.wait([letter(3)], nothing)
    assert room.next() is None
    room.free(letter(1))
    assert room.next() is first
    assert room.next() is None
    room.free(letter(2))
    assert room.next() is second


def test_nobody_passes_the_line() -> None:
    room = space()
    room.take([letter(1)])
    room.wait([letter(2), letter(3)], nothing)
    assert not room.take([letter(4)])


def test_whoever_is_turned_away_is_told_once_and_has_no_place() -> None:
    room = space(1)
    room.take([letter(1)])
    waiting = room.wait([letter(2)], nothing)
    room.turn_away(waiting)
    room.turn_all_away()
    with pytest.raises(BacklogFullError):
        waiting.taken.result(0)
    room.free(letter(1))
    assert room.next() is None


def test_the_wait_cannot_be_cancelled() -> None:
    assert not space().wait([letter(1)], nothing).taken.cancel()
