"""Before Flask-Outbox: the three ways in which a Flask application sends mail by itself.

``up.py`` starts it as a process of its own, so that it can be killed.
"""

import asyncio
from email.message import EmailMessage
from threading import Thread
from threading import enumerate as threads

import aiosmtplib
import stage
from flask import Flask, request

from flask_mail import Mail, Message

HOST, PORT = "127.0.0.1", stage.mail_server_port()
SENDER = "demo@example.org"

app = Flask(__name__)
app.config.update(MAIL_SERVER=HOST, MAIL_PORT=PORT, MAIL_DEFAULT_SENDER=SENDER)
mail = Mail(app)


@app.post("/blocking")
def blocking():
    message = Message(
        "Welcome",
        recipients=[request.form["email"]],
        body="Hello",
    )
    mail.send(message)
    return "Check your inbox."


@app.post("/thread")
def thread():
    message = Message(
        "Welcome",
        recipients=[request.form["email"]],
        body="Hello",
    )
    Thread(target=deliver, args=(message,)).start()
    return "Check your inbox."


def deliver(message):
    with app.app_context():
        mail.send(message)


@app.post("/asyncio")
async def task():
    message = EmailMessage()
    message["Subject"] = "Welcome"
    message["From"] = SENDER
    message["To"] = request.form["email"]
    message.set_content("Hello")
    sending = aiosmtplib.send(
        message,
        hostname=HOST,
        port=PORT,
    )
    asyncio.create_task(sending)  # noqa: RUF006
    return "Check your inbox."


deaths = []
stage.hear(deaths.append)


def held(email):
    """Threads are all that this process has after an answer: the event loop of a view ends with it."""
    if any(deliver.__name__ in one.name for one in threads()):
        return stage.Held("sending")
    return stage.Held("", deaths[-1] if deaths and email.startswith("thread.") else "")


stage.lend(app, held)
