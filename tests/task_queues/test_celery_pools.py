"""Celery's pools: connections last from task to task, and what is being sent at the end is finished and recorded."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from servers.acts import PLAIN, Gate
from servers.process import wait_until
from servers.redis import Redis
from servers.scripted import ScriptedServer
from task_queues.contract import send, wait_for_end
from task_queues.test_celery import OnRedis


@pytest.mark.parametrize(
    ("pool", "connections"),
    [
        ("solo", 1),
        ("threads -c 2", 1),
        ("gevent -c 2", 1),
        ("prefork -c 1", 1),
        # A process for each task, which ends as well.
        ("prefork -c 1 --max-tasks-per-child 1", 2),
    ],
)
def test_a_worker_that_is_asked_to_end_finishes(
    pool: str, connections: int, redis_server: Redis, tmp_path: Path
) -> None:
    gate = Gate()
    with ScriptedServer(script={"CONTENT": [None, (gate, PLAIN)]}) as server:
        workplace = OnRedis(tmp_path, server.port, redis_server.url)
        workplace.pool = ("-P", *pool.split())
        try:
            app = workplace.app(workplace.queue("mail"))
            workplace.start()
            wait_for_end(app, send(app))
            receipt = send(app)
            asyncio.run(gate.reached())
            workplace.worker.signal(signal.SIGTERM)
            wait_until(lambda: "Warm shutdown" in workplace.log, "worker that is asked to end")
            gate.open()
            assert workplace.worker.wait() == 0
            with app.app_context():
                assert app.extensions["mail"].get(receipt.id).state == "sent"
        finally:
            workplace.close()
            redis_server.flush()
    assert len(server.messages) == 2
    assert [session.commands[-1] for session in server.sessions] == ["QUIT"] * connections
    assert "Traceback" not in workplace.log
