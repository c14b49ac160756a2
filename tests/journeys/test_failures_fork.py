"""``fork`` while other threads are in the middle of a send: no child hangs, and what either side sends arrives once."""

from __future__ import annotations

import os

import pytest

from journeys.accounting import AccountingServer
from journeys.conftest import Deployment

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

FORKS, OWN = 3, 2

CODE = """
import os, sys, threading
going, sent = threading.Event(), []

def send_on(first):
    with app.app_context():
        while not going.is_set():
            sent.append(send_one(first + len(sent)))

threads = [threading.Thread(target=send_on, args=(10_000 * k,)) for k in (1, 2)]
for thread in threads: thread.start()
children = []
for fork in range(FORKS):
    while len(sent) < 5 * (fork + 1): threading.Event().wait(0.001)
    child = os.fork()
    if child == 0:
        with app.app_context():
            for own in range(OWN): send_one(OWN * fork + own)
        sys.exit()
    children.append(child)
going.set()
for thread in threads: thread.join()
print(*[os.waitpid(child, 0)[1] for child in children], len(sent))
"""


@pytest.mark.parametrize(
    ("engine", "worker"),
    [("outbox", "external"), ("outbox", "thread"), ("background", "thread")],
)
def test_a_fork_in_the_middle_of_sends_loses_and_repeats_nothing(
    server: AccountingServer, deployment: Deployment, engine: str, worker: str
) -> None:
    done = deployment.run(
        CODE.replace("FORKS", str(FORKS)).replace("OWN", str(OWN)),
        FLASK_MAIL_ENGINE=engine,
        FLASK_MAIL_WORKER=worker,
        FLASK_MAIL_BACKGROUND_LIMIT="100000",
    )
    assert done.returncode == 0, done.stderr
    *codes, sent = map(int, done.stdout.split())
    assert codes == [0] * FORKS, done.stderr
    if engine == "outbox":
        assert deployment.cli("worker", "--once").returncode == 0
    assert (len(server.copies), server.duplicates) == (sent + FORKS * OWN, 0)
