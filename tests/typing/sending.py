"""What a user writes is typed as the documentation says. Checked by mypy and pyright, never run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import assert_type

import flask_sqlalchemy
import flask_sqlalchemy_lite
from flask import Flask
from quart import Quart

from flask_outbox import (
    Attachment,
    Batch,
    DeliveryError,
    Mail,
    Message,
    MessageError,
    Receipt,
    email_dispatched,
)

app = Flask(__name__)
mail = Mail(app)
later = Mail()
later.init_app(app)
later.init_app(Quart(__name__))

message = Message(
    "Welcome",
    recipients=["you@example.org", ("You", "you@example.net")],
    cc="one@example.org",
    sender=("Me", "me@example.org"),
    body="Hello",
    html="<p>Hello</p>",
    attachments=[Attachment("a.txt", "text/plain", b"data")],
    extra_headers={"X-Kind": "welcome"},
)

assert_type(mail.send(message), Receipt)
assert_type(mail.send(message, engine="immediate").state, str)
mail.send(message, delay=timedelta(hours=1), expires=timedelta(days=1), priority="high", key="w:1")
mail.send(message, at=datetime.now(UTC), guarantee="at_most_once")
db, lite = flask_sqlalchemy.SQLAlchemy(), flask_sqlalchemy_lite.SQLAlchemy()
Mail(app, db=db).init_app(app, db=lite)
mail.send(message, session=db.session)
mail.send(message, session=lite.session)
mail.send(message, session=None)
assert_type(mail.send_message("Subject", recipients=["you@example.org"], body="Hello"), Receipt)

with mail.record_messages() as outbox:
    assert_type(outbox, list[Message])

try:
    mail.send(message, engine="immediate")
except MessageError as error:
    assert_type(error.field, str)
except DeliveryError as error:
    for recipient, outcome in error.recipients.items():
        assert_type((recipient, outcome.code, outcome.accepted), tuple[str, int, bool])


@email_dispatched.connect_via(app)
def count(sender: Flask, message: Message) -> None:
    assert_type(message.attachments, list[Attachment])


batch = mail.send_many(
    (message for _ in range(2)),
    priority="low",
    key=lambda one: str(one.subject),
    at=datetime.now(UTC),
)
assert_type(batch, Batch)
assert_type(mail.send_many([message], atomic=True).count, int)
for id in batch.ids():
    assert_type(mail.cancel(id), bool)
    assert_type(mail.retry(id), bool)

found = mail.get("0" * 32)
if found is not None:
    assert_type(found.state, str)
