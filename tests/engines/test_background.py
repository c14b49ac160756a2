"""The background engine: what is in memory, for whom there is no room, and who keeps what memory must not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app

from flask_outbox import (
    BacklogFullError,
    ConfigurationError,
    DeliveryError,
    Mail,
    Message,
    MessageError,
    message_dead,
    message_sent,
)
from servers.process import wait_until
from servers.scripted import Gate, ScriptedServer


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


def message(**fields: Any) -> Message:
    return Message(**{"subject": "Hello", "recipients": ["a@example.org"], "body": "Hi"} | fields)


def use(app: Flask, server: ScriptedServer | None = None, **config: object) -> Mail:
    """The application's mail, in the background."""
    url = f"smtp://127.0.0.1:{server.port}" if server else "null://"
    app.config.update(MAIL_ENGINE="background", MAIL_URL=url, **config)
    return Mail(app)


def close(app: Flask) -> None:
    app.extensions["flask_outbox"].close()


def test_it_returns_before_the_server_has_answered(app: Flask, gate: Gate) -> None:
    with ScriptedServer(script={"GREETING": (gate, None)}) as server, app.app_context():
        receipt = use(app, server).send(message())
        assert (receipt.state, receipt.durable) == ("queued", False)
        assert server.messages == []
        gate.open()
        wait_until(lambda: len(server.messages) == 1, "message")
        close(app)


def test_no_file_and_no_thread_is_made_before_the_first_send(app: Flask) -> None:
    before = threading.active_count()
    mail = use(app)
    assert threading.active_count() == before
    with app.app_context():
        mail.send(message())
    close(app)
    assert not Path(app.instance_path).exists()


def test_the_end_sends_what_is_in_memory(app: Flask) -> None:
    with ScriptedServer() as server, app.app_context():
        mail = use(app, server)
        for _ in range(20):
            mail.send(message())
        close(app)
        assert len(server.messages) == 20


def test_one_send_may_ask_for_it(mail: Mail, app: Flask) -> None:
    app.config["MAIL_URL"] = "null://"
    Mail(app)
    receipt = mail.send(message(), engine="background")
    assert (receipt.state, receipt.durable) == ("queued", False)
    assert mail.messages() == []


def test_a_try_is_heard_of_within_an_application_context_and_on_another_thread(app: Flask) -> None:
    heard: list[tuple[object, int]] = []

    def hear(sender: Flask, **more: object) -> None:
        heard.append((current_app._get_current_object(), threading.get_ident()))  # type: ignore[attr-defined]

    with message_sent.connected_to(hear):
        with app.app_context():
            use(app).send(message())
        close(app)
    [(there, thread)] = heard
    assert there is app
    assert thread != threading.get_ident()


def test_what_is_lost_at_the_end_is_a_signal(app: Flask) -> None:
    reasons: list[str] = []

    def hear(sender: Flask, reason: str, **more: object) -> None:
        reasons.append(reason)

    with message_dead.connected_to(hear):
        with app.app_context():
            use(app).send(message(), delay=timedelta(hours=1))
        close(app)
    assert reasons == ["lost at exit"]


def test_where_there_is_no_room_it_may_raise(app: Flask, gate: Gate) -> None:
    with ScriptedServer(script={"GREETING": (gate, None)}) as server, app.app_context():
        mail = use(app, server, MAIL_BACKGROUND_LIMIT=1, MAIL_BACKGROUND_OVERFLOW="raise")
        mail.send(message())
        with mail.record_messages() as taken, pytest.raises(BacklogFullError):
            mail.send(message())
        gate.open()
        close(app)
        assert (len(server.messages), taken) == (1, [])


def test_where_there_is_no_room_the_caller_waits(app: Flask, gate: Gate) -> None:
    with ScriptedServer(script={"GREETING": (gate, None)}) as server, app.app_context():
        mail = use(app, server, MAIL_BACKGROUND_LIMIT=1)
        mail.send(message())
        asyncio.run(gate.reached())
        threading.Timer(0.05, gate.open).start()
        assert mail.send(message()).state == "queued"
        assert len(server.messages) >= 1  # the first has left, and the second may have followed
        close(app)
        assert len(server.messages) == 2


def test_where_there_is_no_room_the_outbox_may_take_it(app: Flask, gate: Gate) -> None:
    with ScriptedServer(script={"GREETING": (gate, None)}) as server, app.app_context():
        mail = use(app, server, MAIL_BACKGROUND_LIMIT=1, MAIL_BACKGROUND_OVERFLOW="spill")
        assert not mail.send(message()).durable
        spilled = mail.send(message())
        assert spilled.durable
        gate.open()
        close(app)
        assert [(view.id, view.state) for view in mail.messages()] == [(spilled.id, "queued")]


def test_with_spill_the_end_stores_what_is_left(app: Flask) -> None:
    with app.app_context():
        mail = use(app, MAIL_BACKGROUND_OVERFLOW="spill")
        receipt = mail.send(message(), delay=timedelta(hours=1))
        assert not receipt.durable
        close(app)
        assert [(view.id, view.state) for view in mail.messages()] == [(receipt.id, "scheduled")]


def test_spill_without_an_outbox_is_a_contradiction(app: Flask) -> None:
    app.config.update(MAIL_ENGINE="immediate", MAIL_BACKGROUND_OVERFLOW="spill")
    with pytest.raises(ConfigurationError, match="spill needs an outbox"):
        Mail(app)


def test_a_key_needs_the_outbox(app: Flask) -> None:
    with app.app_context(), pytest.raises(MessageError, match="engine='outbox'") as caught:
        use(app).send(message(), key="welcome:42")
    assert caught.value.field == "key"


def test_nothing_can_be_held_in_memory(app: Flask) -> None:
    mail = use(app, MAIL_ALLOWED_RECIPIENTS="@example.com")
    with app.app_context(), pytest.raises(DeliveryError, match="MAIL_ALLOWED_RECIPIENTS"):
        mail.send(message())
    close(app)


def test_where_there_is_an_outbox_it_holds_what_must_not_go(mail: Mail, app: Flask) -> None:
    app.config.update(MAIL_URL="null://", MAIL_ALLOWED_RECIPIENTS="@example.com")
    Mail(app)
    receipt = mail.send(message(), engine="background")
    assert (receipt.state, receipt.durable) == ("held", True)


def test_it_sends_over_a_url_with_a_password(app: Flask) -> None:
    server = ScriptedServer(capabilities=["AUTH PLAIN"], accounts={"me": "s3cret"})
    with server, app.app_context():
        use(app).send(message(), transport=f"smtp://me:s3cret@127.0.0.1:{server.port}")
        close(app)
        assert len(server.messages) == 1


def test_what_may_spill_goes_over_no_url_with_a_password(app: Flask) -> None:
    mail = use(app, MAIL_BACKGROUND_OVERFLOW="spill")
    with app.app_context(), pytest.raises(ConfigurationError, match="password"):
        mail.send(message(), transport="smtp://me:s3cret@mail.example.org")


def test_what_is_asked_of_the_outbox_says_that_there_is_none(app: Flask) -> None:
    mail = use(app)
    with app.app_context(), pytest.raises(ConfigurationError, match="'background'"):
        mail.messages()
