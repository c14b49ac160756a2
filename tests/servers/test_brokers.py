"""The brokers that the tests start are what they are taken for."""

from __future__ import annotations

from collections.abc import Callable

import amqp
import pytest
import redis

from .rabbitmq import RabbitMQ
from .redis import Redis


def put(server: RabbitMQ, *queues: str) -> None:
    """Send a persistent message to each of these durable queues, and have it confirmed."""
    with amqp.Connection(f"127.0.0.1:{server.port}", confirm_publish=True) as connection:
        channel = connection.channel()
        for queue in queues:
            channel.queue_declare(queue, durable=True, auto_delete=False)
            channel.basic_publish(amqp.Message("Hello", delivery_mode=2), routing_key=queue)


def waiting(server: RabbitMQ, queue: str) -> int:
    """How many messages a queue holds."""
    with amqp.Connection(f"127.0.0.1:{server.port}") as connection:
        count: int = connection.channel().queue_declare(queue, passive=True).message_count
        return count


def test_a_flushed_redis_is_empty(redis_server: Redis) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("greeting", "Hello")
        redis_server.flush()
        assert client.dbsize() == 0


@pytest.mark.parametrize("end", [Redis.stop, Redis.kill])
def test_a_durable_redis_keeps_what_it_accepted(
    start_redis: Callable[..., Redis], end: Callable[[Redis], None]
) -> None:
    server = start_redis(durable=True)
    with redis.Redis.from_url(server.url) as client:
        client.set("greeting", "Hello")
        end(server)
        server.start()
        assert client.get("greeting") == b"Hello"


def test_any_other_redis_has_lost_it_after_a_restart(start_redis: Callable[..., Redis]) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url) as client:
        client.set("greeting", "Hello")
        server.stop()
        server.start()
        assert client.dbsize() == 0


def test_a_closed_redis_leaves_nothing_behind(start_redis: Callable[..., Redis]) -> None:
    server = start_redis()
    server.close()
    assert not server.folder.exists()
    with pytest.raises(redis.ConnectionError), redis.Redis.from_url(server.url) as client:
        client.ping()


def test_a_purged_rabbitmq_has_its_queues_still(rabbitmq: RabbitMQ) -> None:
    put(rabbitmq, "purged one", "purged two")
    rabbitmq.purge()
    assert [waiting(rabbitmq, queue) for queue in ("purged one", "purged two")] == [0, 0]


def test_a_cleared_rabbitmq_has_no_queue(rabbitmq: RabbitMQ) -> None:
    put(rabbitmq, "cleared")
    rabbitmq.clear()
    with pytest.raises(amqp.NotFound):
        waiting(rabbitmq, "cleared")


def test_a_killed_rabbitmq_keeps_what_it_confirmed(rabbitmq: RabbitMQ) -> None:
    put(rabbitmq, "kept")
    rabbitmq.kill()
    with pytest.raises(ConnectionRefusedError):
        waiting(rabbitmq, "kept")
    rabbitmq.start()
    assert waiting(rabbitmq, "kept") == 1
    rabbitmq.clear()
