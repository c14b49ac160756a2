"""Where gevent has put greenlets in the place of threads, a queue's connections are used where they were opened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from servers.redis import Redis

#: Greenlets put tasks of their own on the queue, and send mail between.
_SCRIPT = """
from gevent import monkey
monkey.patch_all()
import sys, gevent
from flask import Flask
from huey import RedisHuey
from flask_outbox import Mail, Message

place, instance = sys.argv[1:]
huey = RedisHuey("greenlets", url=place)
app = Flask("shop", instance_path=instance)
app.config.update(
    MAIL_ENGINE="huey", MAIL_TASK_QUEUE=huey, MAIL_DEFAULT_SENDER="app@example.org", MAIL_SERVER="127.0.0.1"
)
mail = Mail(app)

@huey.task()
def own():
    pass

def serve():
    for _ in range(5):
        own()
        with app.app_context():
            mail.send(Message("Hello", recipients=["you@example.org"], body="Hello."))
        own()

gevent.joinall([gevent.spawn(serve) for _ in range(8)], raise_error=True)
app.extensions["flask_outbox"].close()
told = [len(task.args[0]) for task in huey.pending() if task.name == "deliver"]
print(huey.pending_count() - len(told), sum(told))
huey.flush()
"""


def test_the_connections_of_greenlets_are_not_used_by_other_threads(
    tmp_path: Path, redis_server: Redis
) -> None:
    command = [sys.executable, "-c", _SCRIPT, redis_server.url, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["80", "40"], done.stderr
