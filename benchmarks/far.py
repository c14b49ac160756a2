"""The same server 50 ms away: what a network costs whoever waits for each answer. One connection, then ten."""

from __future__ import annotations

from collections.abc import Iterator

from .delay import Delay
from .measure import alternate
from .scale import Scale
from .services import Sink, folder
from .smtp import COMPOSING, CONNECTIONS, speeds, ways
from .smtp_ways import Load, spent
from .table import Gate, Row

#: Seconds that a byte needs to the server and its answer back.
ROUND_TRIP = 0.05


def run(scale: Scale) -> Iterator[Row]:
    with folder() as room, Sink(room) as sink, Delay(room, sink.port, ROUND_TRIP) as far:
        for connections, what, gate in (
            (1, "SMTP 50 ms away, one connection", Gate("≥ 3×", least=3.0)),
            (CONNECTIONS, f"SMTP 50 ms away, {CONNECTIONS} connections", None),
        ):
            load = Load(far.port, scale.far * connections, connections)
            found = ways(load, room)
            found.pop(COMPOSING, None)
            spending = {name: spent(way, load.count) for name, way in found.items()}
            yield from speeds(what, alternate(spending, scale.far_rounds), gate)
