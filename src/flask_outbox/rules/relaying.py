"""What a relay passes on to a task queue: that of which nobody may have told it.

Whoever sends tells the queue; so what is due since it was sent is only passed on once that is some time ago. What is
due for another reason (a retry, a delay that is over, a dead worker's lease) the relay alone tells, at once. And what
was told to tasks that found its lane closed, is told again when that opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that is due. Moments are Unix seconds.

    :param created: since when it is in the queue.
    """

    delivery_id: int
    letter_id: str
    due: float
    created: float


@dataclass(slots=True)
class LaneMemory:
    """What a relay knows of one lane.

    :param told: when it last passed on each of those that still wait, by delivery.
    :param closed: when the lane was last seen closed.
    """

    told: dict[int, float] = field(default_factory=dict)
    closed: float = float("-inf")


def to_tell(head: Sequence[Due], memory: LaneMemory, *, now: float, patience: float) -> list[Due]:
    """Those of the head of a lane to be passed on now; the memory is told so.

    :param patience: seconds after which what was told counts as lost.
    """
    chosen = [one for one in head if _is_due(one, memory, now, patience)]
    # What is no longer among the first that wait is done, or will be among them again.
    memory.told = {
        one.delivery_id: memory.told[one.delivery_id]
        for one in head
        if one.delivery_id in memory.told
    } | {one.delivery_id: now for one in chosen}
    return chosen


def _is_due(one: Due, memory: LaneMemory, now: float, patience: float) -> bool:
    told = memory.told.get(one.delivery_id)
    if told is None or told < one.due:  # what was told is of an earlier try
        told = one.created if one.due <= one.created else float("-inf")
    return told <= max(now - patience, memory.closed)
