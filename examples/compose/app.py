"""A shop that welcomes its customers: the web process stores the mail, a Celery worker sends it.

Every setting comes from the environment, which ``compose.yaml`` gives to both.
"""

from __future__ import annotations

from celery import Celery, Task
from flask import Flask, request

from flask_outbox import Mail, Message


def celery_init_app(app: Flask) -> Celery:
    """Celery as Flask's documentation has it."""

    class FlaskTask(Task):
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app


app = Flask(__name__)
app.config.from_prefixed_env()
celery_app = celery_init_app(app)
mail = Mail(app)


@app.post("/signup")
def signup() -> str:
    mail.send(Message("Welcome", recipients=[request.form["email"]], body="Hello"))
    return "Check your inbox.\n"
