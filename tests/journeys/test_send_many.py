"""kill -9 within an atomic ``send_many``: all of it is sent, or nothing."""

from __future__ import annotations

import signal

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
