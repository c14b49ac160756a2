"""What ``celery worker`` runs: an application with Celery as Flask's docs have it."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, Task, shared_task
from flask import Flask, current_app

from flask_outbox import Message
from flask_outbox.signals import message_sent
from task_queues.application import create_app, greet_by, mail


def celery_init_app(app: Flask) -> Celery:
    class FlaskTask(Task):  # type: ignore[misc]  # Celery has no types
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app


@shared_task(name="greet", ignore_result=True)
def greet(address: str) -> None:
    """A task of the user's own that sends."""
    greet_by(current_app, address)


@shared_task(name="send", ignore_result=True)
def send(document: dict[str, Any]) -> None:
    """A task of the user's own that is given what is to be sent."""
    mail.send(Message.from_dict(document))


def tell(app: Flask, letter: Any, **_: object) -> None:
    assert current_app == app
    print(f"{letter.message_id} was sent", flush=True)


app = create_app(
    CELERY={
        "broker_url": os.environ["BROKER"],
        "result_backend": os.environ.get("RESULTS"),
        "task_ignore_result": "RESULTS" not in os.environ,
    }
)
celery_app = celery_init_app(app)
message_sent.connect(tell, app)
