"""What ``dramatiq`` runs."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from task_queues.application import create_app, greet_by

place = os.environ["BROKER"]
dramatiq.set_broker((RedisBroker if place.startswith("redis:") else RabbitmqBroker)(url=place))
app = create_app()


@dramatiq.actor
def greet(address: str) -> None:
    greet_by(app, address)
