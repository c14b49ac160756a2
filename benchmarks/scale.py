"""How much of everything a run does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes of one run.

    :param rounds: how often all contestants of a row are measured in turn.
    :param calls: how often, where it is one call that waits for a disk or a server.
    :param burst: seconds for which a contestant that only computes is measured in a round.
    :param smtp: messages of each way to speak SMTP in a round.
    :param far: the same, a connection, where the server is far away.
    :param far_rounds: how often, for it takes seconds.
    :param drains: how often each drains.
    :param drained: letters in the outbox that is drained.
    :param workers: how many of them drain one outbox of a server.
    :param queues: how many of the ways to have mail sent by a task queue are measured.
    :param queued: letters that each sends.
    :param drained_by_peers: messages that each peer, being slower, drains.
    :param stored: messages of a batch that is stored.
    :param requests: small requests to a process while its worker thread sends.
    :param behind: letters that wait then; more than are sent meanwhile.
    :param backlog: letters in the full outbox.
    :param small_backlog: letters in the one it is held against.
    :param processes: processes that measure an import.
    """

    rounds: int = 9
    calls: int = 300
    burst: float = 0.05
    smtp: int = 1_000
    far: int = 30
    far_rounds: int = 3
    drains: int = 3
    drained: int = 5_000
    workers: tuple[int, ...] = (1, 2, 4)
    queues: int = 99
    queued: int = 5_000
    drained_by_peers: int = 1_000
    stored: int = 10_000
    requests: int = 3_000
    behind: int = 20_000
    backlog: int = 1_000_000
    small_backlog: int = 10_000
    processes: int = 11


FULL = Scale()
QUICK = Scale(
    rounds=5,
    calls=100,
    burst=0.02,
    smtp=400,
    far=20,
    far_rounds=2,
    drains=2,
    drained=2_000,
    queued=2_000,
    drained_by_peers=500,
    stored=5_000,
    requests=1_500,
    behind=10_000,
    backlog=100_000,
    processes=5,
)
TINY = Scale(
    rounds=1,
    calls=2,
    burst=0.0,
    smtp=20,
    far=3,
    far_rounds=1,
    drains=1,
    drained=20,
    workers=(2,),
    queues=1,
    queued=20,
    drained_by_peers=5,
    stored=20,
    requests=2,
    behind=20,
    backlog=200,
    small_backlog=100,
    processes=1,
)
