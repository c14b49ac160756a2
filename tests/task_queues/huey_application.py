"""What ``huey_consumer`` runs."""

from __future__ import annotations

import os

from huey import RedisHuey, SqliteHuey

from task_queues.application import create_app, greet_by

place = os.environ["BROKER"]
huey = RedisHuey(url=place) if place.startswith("redis:") else SqliteHuey(filename=place)
app = create_app(huey)


@huey.task()
def greet(address: str) -> None:
    greet_by(app, address)
