"""What ``rq worker -c`` runs."""

from __future__ import annotations

import os

from redis import Redis
from rq import Queue

from task_queues.application import create_app, greet_by

app = create_app(Queue(connection=Redis.from_url(os.environ["BROKER"])))


def greet(address: str) -> None:
    greet_by(app, address)
