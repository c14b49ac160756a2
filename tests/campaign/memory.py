"""``python -m campaign.memory``: what a worker of Celery's takes of the memory, task after task.

It has one process (``-P threads``); each task is of one message, and pushes a context of the application.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from flask import Flask

from flask_outbox import Mail, Message
from journeys.accounting import AccountingServer
from servers.redis import Redis
from task_queues.test_celery import OnRedis

#: Tasks after which it is looked at.
LOOKS = (100, 1_000, 10_000, 25_000, 50_000, 75_000, 100_000)


def main(most: int) -> None:
    with (
        Redis() as broker,
        AccountingServer() as server,
        tempfile.TemporaryDirectory(prefix="flask-outbox-memory-") as parent,
    ):
        folder = Path(parent, "memory")
        folder.mkdir()
        workplace = OnRedis(folder, server.port, broker.url)
        workplace.pool = ("-P", "threads", "-c", "16")
        # Nobody but the tasks is to tell of a message.
        workplace.env["FLASK_MAIL_RELAY_PATIENCE"] = "86400"
        ids = _stored(workplace, most)
        queue = workplace.app(workplace.queue("mail")).extensions["flask_outbox"].wiring.tasks.queue
        workplace.start()
        print("| tasks | MB |", "|---|---|", sep="\n")
        for before, look in pairwise((0, *(look for look in LOOKS if look <= most))):
            for id in ids[before:look]:
                queue.publish([id], 1)
            server.wait_for(look, deadline=3_600)
            print(f"| {look} | {_resident(workplace.worker.pid) / 1024:.1f} |", flush=True)
        workplace.close()


def _stored(workplace: OnRedis, count: int) -> list[str]:
    """Messages of its outbox that no task knows of."""
    app = Flask("sender", instance_path=str(workplace.folder))
    app.config.update(workplace.settings, MAIL_ENGINE="outbox", MAIL_WORKER="external")
    mail = Mail(app)
    messages = (
        Message(f"Number {n}", recipients=[f"user{n}@example.org"], body="Hello.")
        for n in range(count)
    )
    with app.app_context():
        ids = list(mail.send_many(messages).ids())
    app.extensions["flask_outbox"].close()
    return ids


def _resident(pid: int) -> int:
    """Kilobytes that a process has in the memory."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1])


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else LOOKS[-1])
