"""Before Flask-Outbox, with Celery: a task that calls Flask-Mail, as the tutorials have it.

``up.py`` starts it as a process of its own, and a worker of Celery beside it, so that both can be killed.
"""

import stage
import tasks
from celery import Celery
from flask import Flask, request

from flask_mail import Mail, Message

app = Flask(__name__)
app.config.update(
    MAIL_SERVER="127.0.0.1",
    MAIL_PORT=stage.mail_server_port(),
    MAIL_DEFAULT_SENDER="demo@example.org",
)
mail = Mail(app)
BROKER = stage.broker(0)
celery = Celery("before", broker=BROKER)


@app.post("/celery-task")
def welcome():
    message = {
        "subject": "Welcome",
        "recipients": [request.form["email"]],
        "body": "Hello",
    }
    send_async_email.delay(message)
    return "Check your inbox."


@celery.task
def send_async_email(message):
    with app.app_context():
        mail.send(Message(**message))


stage.lend(app, tasks.Watch(celery, BROKER, stage.FOLDER / "before_celery").held)
