"""What is large comes in portions."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from flask_outbox.ledger.portions import portions


@dataclass
class Sized:
    size: int


@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ([], []),
        ([1, 2, 3], [[1, 2, 3]]),
        ([4, 6, 1], [[4, 6], [1]]),
        ([11], [[11]]),
        ([1, 11, 1], [[1], [11], [1]]),
        ([0, 0, 10, 0, 1], [[0, 0, 10, 0], [1]]),
    ],
)
def test_a_portion_is_no_larger_than_allowed_or_a_single_one(
    sizes: list[int], found: list[list[int]]
) -> None:
    made = portions([Sized(size) for size in sizes], 10)
    assert [[one.size for one in portion] for portion in made] == found
