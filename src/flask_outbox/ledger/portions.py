"""Letters by their bytes: what is large is read, or taken away, a little at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar


class Sized(Protocol):
    """What has bytes."""

    @property
    def size(self) -> int: ...


S = TypeVar("S", bound=Sized)


def portions(found: Iterable[S], most: int) -> Iterator[list[S]]:
    """Some after the other, with no more than so many bytes, or a single one."""
    portion: list[S] = []
    size = 0
    for one in found:
        if portion and size + one.size > most:
            yield portion
            portion, size = [], 0
        portion.append(one)
        size += one.size
    if portion:
        yield portion
