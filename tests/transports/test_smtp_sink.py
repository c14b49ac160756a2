"""The SMTP transport against Postfix's smtp-sink, which takes much and fails on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from flask_outbox.rules.outcomes import Kind, Phase, Report, Scope
from servers.smtp_sink import SmtpSink

from .sending import deliver, facts, letters, road_to, send


def test_smtp_sink_takes_two_hundred_letters_over_several_connections(smtp_sink: SmtpSink) -> None:
    async def main() -> tuple[list[Report], int]:
        async with road_to(smtp_sink.port, pool_size=4) as road:
            reports = await asyncio.gather(*(send(road, a_letter) for a_letter in letters(200)))
            return reports, len(road._connections)

    reports, connections = asyncio.run(main())
    assert all(report.all_accepted for report in reports)
    assert 1 < connections <= 4
    subjects = {
        line
        for message in smtp_sink.messages(200)
        for line in message.split(b"\n")
        if line.startswith(b"Subject: ")
    }
    assert subjects == {f"Subject: {number}".encode() for number in range(1, 201)}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (("-q", "."), (Kind.UNKNOWN, Scope.TRANSPORT, Phase.AFTER)),
        (("-Q", "."), (Kind.DEFERRED, Scope.TRANSPORT, Phase.AFTER)),
        (("-f", "."), (Kind.REFUSED, Scope.MESSAGE, Phase.AFTER)),
        (("-r", "."), (Kind.DEFERRED, Scope.MESSAGE, Phase.AFTER)),
        (("-q", "DATA"), (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)),
        (("-f", "RCPT"), (Kind.REFUSED, Scope.RECIPIENT, Phase.BEFORE)),
        (("-r", "CONNECT"), (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)),
    ],
)
def test_smtp_sinks_faults_have_their_outcomes(
    fault: tuple[str, ...],
    expected: tuple[Kind, Scope, Phase],
    start_smtp_sink: Callable[..., SmtpSink],
) -> None:
    sink = start_smtp_sink(*fault)
    reports = deliver(sink.port, *letters(3))
    assert [facts(report) for report in reports] == [expected] * 3
