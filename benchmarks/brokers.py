"""The brokers that task queues have, each server started once a run, as durable as it comes."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from servers.rabbitmq import RabbitMQ
from servers.redis import Redis

from .peers import here
from .services import DISK

#: Each with its name in the table, and what it needs.
NAMES = {"redis": "Redis", "rabbitmq": "RabbitMQ"}
_NEEDS = {
    "redis": ("redis", "bin:redis-server"),
    "rabbitmq": ("amqp", "bin:rabbitmq-server"),
}


def missing(kind: str) -> bool:
    """Whether this broker cannot be measured here."""
    return not here(*_NEEDS[kind])


@cache
def _server(kind: str) -> Redis | RabbitMQ:
    """The running server of that kind. Redis syncs each write, as an outbox does; RabbitMQ syncs by its own rules."""
    started = Redis(durable=True, where=DISK) if kind == "redis" else RabbitMQ(where=DISK)
    atexit.register(started.close)
    return started


@contextmanager
def broker(kind: str) -> Iterator[str]:
    """An empty broker, emptied at the end. Yields its URL."""
    server = _server(kind)
    yield server.url
    if isinstance(server, Redis):
        server.flush()
    else:
        server.clear()
