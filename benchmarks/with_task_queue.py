"""The application with Flask-Outbox on a task queue; the environment says on which, and where its broker is.

The queues are set up as somebody does who reads the manual: nothing is set for the mail's sake.
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask

from flask_outbox import Mail

from . import messages
from .with_flask_outbox import draft


def _celery(broker: str) -> Any:
    from celery import Celery

    celery = Celery("bench", broker=broker)
    # As for the task that calls Flask-Mail; both are told to say nothing of a broker that starts later.
    celery.conf.update(
        worker_prefetch_multiplier=16,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )
    return celery


def _rq(broker: str) -> Any:
    from redis import Redis
    from rq import Queue

    return Queue(connection=Redis.from_url(broker))


def _dramatiq(broker: str) -> Any:
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    made = RedisBroker(url=broker)
    dramatiq.set_broker(made)
    return made


def _huey(broker: str) -> Any:
    from huey import RedisHuey

    return RedisHuey("bench", url=broker)


_MAKERS = {"celery": _celery, "rq": _rq, "dramatiq": _dramatiq, "huey": _huey}


def application(engine: str, broker: str, outbox: str | None, port: int) -> tuple[Flask, Mail]:
    """An application whose mail is sent by a task queue.

    :param outbox: the URL of its database; None for none.
    """
    app = Flask("bench")
    app.extensions[engine] = _MAKERS[engine](broker)
    app.config.update(
        MAIL_URL=f"smtp://127.0.0.1:{port}",
        MAIL_OUTBOX_URL=outbox,
        MAIL_ENGINE=engine,
        MAIL_DEFAULT_SENDER=messages.SENDER,
    )
    return app, Mail(app)


if "BENCH_ENGINE" in os.environ:
    engine = os.environ["BENCH_ENGINE"]
    app, mail = application(
        engine,
        os.environ["BENCH_BROKER"],
        os.environ.get("BENCH_OUTBOX") or None,
        int(os.environ["BENCH_PORT"]),
    )
    #: What the command of each queue looks for.
    queue = app.extensions[engine]

if __name__ == "__main__":
    import sys

    for _ in range(int(sys.argv[1])):
        with app.app_context():
            mail.send(draft(messages.HTML))
