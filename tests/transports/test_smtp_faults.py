"""Whatever a server does, each letter has one end, and the end that is true."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from flask_outbox.rules.outcomes import Kind, Report
from servers.scripted import CAPABILITIES, DROP, Item, ScriptedServer

from .sending import Cleared, letters, only, road_to, send

_FAULTS: list[Item] = [
    *([None] * 8),
    "450 4.2.0 Later",
    "550 5.1.1 No",
    "354 Go on",
    ("421 4.3.2 Bye", DROP),
    ("250 2.0.0 Ok", DROP),
    DROP,
    b"garbage\r\n",
]
_STEPS = ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT")
_SCRIPTS = st.fixed_dictionaries(
    {step: st.lists(st.sampled_from(_FAULTS), max_size=12) for step in _STEPS}
)


@settings(max_examples=60, deadline=None)
@given(_SCRIPTS, st.integers(1, 3), st.booleans(), st.sets(st.integers(0, 9), max_size=3))
def test_each_letter_ends_once_and_as_the_report_says(
    script: dict[str, list[Item]], pool_size: int, pipelining: bool, withdrawn: set[int]
) -> None:
    batch = letters(10)

    async def main(port: int) -> list[Report]:
        async with road_to(port, pool_size=pool_size, max_messages=4) as road:
            clearances = [Cleared(content=number not in withdrawn) for number in range(10)]
            sending = [send(road, *pair) for pair in zip(batch, clearances, strict=True)]
            async with asyncio.timeout(20):
                return await asyncio.gather(*sending)

    capabilities = CAPABILITIES if pipelining else ["SIZE"]
    with ScriptedServer(capabilities, script=script) as server:
        reports = asyncio.run(main(server.port))
    # The script may say 354 to nobody: what is accepted then is nobody's.
    arrived = Counter(message.content for message in server.messages if message.recipients)
    for number, (a_letter, report) in enumerate(zip(batch, reports, strict=True)):
        assert a_letter.raw is not None
        times = arrived[a_letter.raw]
        kind = only(report).kind if report else None
        assert report or number in withdrawn
        assert times in {Kind.ACCEPTED: (1,), Kind.UNKNOWN: (0, 1)}.get(kind, (0,))
