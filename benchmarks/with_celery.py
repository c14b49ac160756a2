"""Celery as people use it for mail: a task that pushes the application's context and calls Flask-Mail.

Set up to lose nothing, as the outbox does: tasks are acknowledged when they have run. Results are not kept, and a
worker takes as many tasks ahead as it likes, which is the fastest setting it has.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from . import with_flask_mail

celery = Celery("bench", broker=os.environ.get("BENCH_BROKER", "redis://"))
celery.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=16,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)

_app, _mail = with_flask_mail.application(int(os.environ.get("BENCH_PORT", "25")))


@celery.task(name="send")
def send(fields: dict[str, Any]) -> None:
    """Send one message."""
    with _app.app_context():
        _mail.send(with_flask_mail.draft(fields))


if __name__ == "__main__":
    import sys

    from . import messages

    for _ in range(int(sys.argv[1])):
        send.delay(messages.HTML)
