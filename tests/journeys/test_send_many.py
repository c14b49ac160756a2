"""``send_many`` in real processes: killed within an atomic batch, beside others who send, and for ever so many."""

from __future__ import annotations

import signal

import pytest

from journeys.accounting import AccountingServer
from journeys.conftest import Deployment

#: Stores 600 messages as a whole; dies while the iterable is at a message, or once it has published a group.
CODE = """
import os, signal
from flask_outbox import Message

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def messages():
    for number in range(600):
        if number == int(os.environ.get("DIES_AT", -1)):
            die()
        yield Message(f"Number {number}", recipients=[f"user{number}@example.org"], body="Hi")

batches = app.extensions["flask_outbox"].wiring.store.batches
carry_out = batches.carry_out
if "DIES_AT" not in os.environ:
    batches.carry_out = lambda *args: die(carry_out(*args, groups=1))
with app.app_context():
    mail.send_many(messages(), atomic=True)
"""


def test_a_kill_before_the_last_message_is_stored_leaves_nothing_to_be_sent(
    server: AccountingServer, deployment: Deployment
) -> None:
    assert deployment.run(CODE, DIES_AT="550").returncode == -signal.SIGKILL
    assert deployment.cli("worker", "--once").returncode == 0
    assert server.count == 0
    left = deployment.run(
        "from sqlalchemy import text\n"
        "with app.extensions['flask_outbox'].wiring.store.database.snapshot() as line:\n"
        "    for name in ('letter', 'recipient', 'batch', 'batch_letter'):\n"
        "        print(line.execute(text(f'SELECT count(*) FROM mail_{name}')).scalar())\n"
    )
    assert left.stdout.split() == ["0"] * 4


def test_a_kill_after_the_last_message_is_stored_loses_none(
    server: AccountingServer, deployment: Deployment
) -> None:
    assert deployment.run(CODE).returncode == -signal.SIGKILL
    assert deployment.cli("worker", "--once").returncode == 0
    assert len(server.copies) == server.count == 600


#: Stores a batch whose iterable lets another process send a message, and waits for that, again and again.
BESIDE = """
import subprocess, sys
from flask_outbox import Message

OTHER = (
    "from journeys.application import create_app, send_one\\n"
    "app = create_app()\\n"
    "with app.app_context():\\n"
    "    while number := input():\\n"
    "        send_one(int(number))\\n"
    "        print(number, flush=True)\\n"
)
other = subprocess.Popen(
    [sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
)

def messages():
    for number in range(1_200):
        if number % 100 == 50:
            print(10_000 + number, file=other.stdin, flush=True)
            print("sent meanwhile:", other.stdout.readline().strip())
        yield Message(f"Number {number}", recipients=[f"user{number}@example.org"], body="Hi")

with app.app_context():
    print("stored:", mail.send_many(messages(), atomic=ATOMIC).count)
print(file=other.stdin, flush=True)
print("ended:", other.wait(20))
"""


@pytest.mark.parametrize("atomic", [False, True])
def test_another_process_sends_while_a_batch_is_stored(
    server: AccountingServer, deployment: Deployment, atomic: bool
) -> None:
    done = deployment.run(BESIDE.replace("ATOMIC", str(atomic)))
    meanwhile = [f"sent meanwhile: {10_000 + number}" for number in range(50, 1_200, 100)]
    assert done.stdout.splitlines() == [*meanwhile, "stored: 1200", "ended: 0"], done.stderr
    assert deployment.cli("worker", "--once").returncode == 0
    assert len(server.copies) == server.count == 1_212


#: Prints, for a small batch and one five times as large, the letters that were there at once and the most memory.
MEASURED = """
import gc, tracemalloc
from flask_outbox import Message
from flask_outbox.mail.letter import Letter

def messages(count):
    global most
    for number in range(count):
        if number % 250 == 249:
            most = max(most, sum(isinstance(one, Letter) for one in gc.get_objects()))
        yield Message(f"Number {number}", recipients=[f"user{number}@example.org"], body="Hi")

with app.app_context():
    for count in (1_000, 1_000, 5_000):
        most = 0
        tracemalloc.start()
        mail.send_many(messages(count))
        print(most, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
"""


def test_a_batch_five_times_as_large_takes_no_more_memory(deployment: Deployment) -> None:
    done = deployment.run(MEASURED)
    _, small, large = ([*map(int, line.split())] for line in done.stdout.splitlines())
    letters, memory = large
    assert small[0] == letters < 500
    assert memory < 1.2 * small[1]
