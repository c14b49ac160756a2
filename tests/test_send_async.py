"""``mail.send_async``: the same send, from coroutines, in whatever loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from flask import Flask, current_app, request

from flask_outbox import (
    BadHeaderError,
    DeliveryError,
    Mail,
    Message,
    OutboxError,
    message_queued,
    message_sent,
)
from flask_outbox.ledger.store import Store
from servers.process import wait_until
from servers.scripted import Gate, ScriptedServer

ENGINES = ["outbox", "background", "immediate"]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def mail(app: Flask, server: ScriptedServer) -> Iterator[Mail]:
    app.config["MAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
    mail = Mail(app)
    with app.app_context():
        yield mail
    app.extensions["flask_outbox"].close()


def message(**fields: Any) -> Message:
    return Message(**{"subject": "Hello", "recipients": ["a@example.org"], "body": "Hi"} | fields)


class Stalled:
    """An outbox whose disk is slow: storing waits until the test lets it go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self._on = threading.Event(), threading.Event()
        add = Store.add

        def slow(store: Store, *args: Any) -> list[str]:
            self.begun.set()
            assert self._on.wait(20)
            return add(store, *args)

        monkeypatch.setattr(Store, "add", slow)

    def go_on(self) -> None:
        self._on.set()


@pytest.fixture
def stalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stalled]:
    stalled = Stalled(monkeypatch)
    yield stalled
    stalled.go_on()


# -- the same send ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "state", "durable"),
    [("outbox", "queued", True), ("background", "queued", False), ("immediate", "sent", False)],
)
def test_it_gives_the_receipt_of_its_engine(
    mail: Mail, engine: str, state: str, durable: bool
) -> None:
    receipt = asyncio.run(mail.send_async(message(), engine=engine))
    assert (receipt.state, receipt.durable) == (state, durable)


def test_it_takes_the_keywords_of_send(mail: Mail) -> None:
    async def send() -> list[str]:
        return [(await mail.send_async(message(), key="welcome:42")).id for _ in range(2)]

    first, second = asyncio.run(send())
    assert first == second


def test_what_is_wrong_with_a_message_is_raised_at_once(mail: Mail) -> None:
    with pytest.raises(BadHeaderError):
        mail.send_async(message(subject="a\nb"))


def test_the_immediate_engine_raises_where_it_is_awaited(app: Flask) -> None:
    with ScriptedServer(script={"RCPT": "550 5.1.1 Nobody"}) as server, app.app_context():
        app.config["MAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
        sending = Mail(app).send_async(message(), engine="immediate")
        with pytest.raises(DeliveryError, match="Nobody"):
            asyncio.run(sending)
        app.extensions["flask_outbox"].close()


def test_what_cannot_be_stored_is_raised_where_it_is_awaited(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> list[str]:
        raise OutboxError("the disk is full")

    monkeypatch.setattr(Store, "add", full)
    with mail.record_messages() as taken, pytest.raises(OutboxError, match="disk is full"):
        asyncio.run(mail.send_async(message()))
    assert taken == []


def test_a_test_records_it_and_nothing_is_sent(app: Flask) -> None:
    app.testing = True
    mail = Mail(app)
    with app.app_context(), mail.record_messages() as outbox:
        sent = message()
        assert asyncio.run(mail.send_async(sent)).state == "suppressed"
    assert outbox == [sent]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_taken_is_recorded_in_the_thread_that_awaits(mail: Mail, engine: str) -> None:
    with mail.record_messages() as outbox:
        sent = message()
        asyncio.run(mail.send_async(sent, engine=engine))
        assert outbox == [sent]


def test_an_override_of_a_step_is_called(mail: Mail) -> None:
    class Polite(Message):
        def send(self, connection: Any) -> Any:
            self.subject = f"Dear {self.subject}"
            return super().send(connection)

    polite = Polite("reader", recipients=["a@example.org"], body="Hi")
    receipt = asyncio.run(mail.send_async(polite))
    view = mail.get(receipt.id)
    assert view is not None
    assert view.subject == "Dear reader"


# -- the loop --------------------------------------------------------------------------------------------------------


def test_the_loop_runs_on_while_the_disk_is_slow(mail: Mail, stalled: Stalled) -> None:
    async def send() -> str:
        sending = asyncio.create_task(mail.send_async(message()))
        while not stalled.begun.is_set():
            await asyncio.sleep(0)
        assert not sending.done()
        stalled.go_on()
        return (await sending).state

    assert asyncio.run(send()) == "queued"


def test_the_loop_runs_on_while_the_server_is_slow(app: Flask, gate: Gate) -> None:
    async def send(mail: Mail) -> str:
        sending = asyncio.create_task(mail.send_async(message(), engine="immediate"))
        await gate.reached()
        assert not sending.done()
        gate.open()
        return (await sending).state

    with ScriptedServer(script={"CONTENT": (gate, None)}) as server, app.app_context():
        app.config["MAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
        assert asyncio.run(send(Mail(app))) == "sent"
        app.extensions["flask_outbox"].close()


def test_the_loop_runs_on_while_there_is_no_room(app: Flask, gate: Gate) -> None:
    async def send(mail: Mail) -> list[str]:
        first = await mail.send_async(message())
        second = asyncio.create_task(mail.send_async(message()))
        await gate.reached()
        assert not second.done()
        gate.open()
        return [first.state, (await second).state]

    with ScriptedServer(script={"CONTENT": [(gate, None)]}) as server, app.app_context():
        app.config.update(
            MAIL_URL=f"smtp://127.0.0.1:{server.port}",
            MAIL_ENGINE="background",
            MAIL_BACKGROUND_LIMIT=1,
        )
        assert asyncio.run(send(Mail(app))) == ["queued", "queued"]
        app.extensions["flask_outbox"].close()


@pytest.mark.parametrize("engine", ["background", "immediate"])
def test_a_task_cancelled_with_its_loop_takes_nothing_back(
    mail: Mail, server: ScriptedServer, engine: str
) -> None:
    async def view() -> None:
        asyncio.create_task(mail.send_async(message(), engine=engine))  # noqa: RUF006 - that is it

    asyncio.run(view())
    wait_until(lambda: len(server.messages) == 1, "message")


def test_a_cancelled_task_does_not_stop_the_storing(mail: Mail, stalled: Stalled) -> None:
    async def send() -> None:
        sending = asyncio.create_task(mail.send_async(message()))
        while not stalled.begun.is_set():
            await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    asyncio.run(send())
    stalled.go_on()
    wait_until(lambda: len(mail.messages()) == 1, "letter")


def test_a_task_cancelled_while_it_stores_has_stored_all_of_it(
    mail: Mail, stalled: Stalled
) -> None:
    async def send() -> None:
        sending = asyncio.create_task(mail.send_async(large))
        while not stalled.begun.is_set():
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])

    large = message(recipients=[f"user{number}@example.org" for number in range(50)])
    large.attach("report.pdf", "application/pdf", bytes(100_000))
    asyncio.run(send())
    stalled.go_on()
    wait_until(lambda: len(mail.messages()) == 1, "letter")
    [stored] = mail.messages()
    assert len(stored.recipients) == 50
    assert stored.state == "queued"


def test_a_task_cancelled_before_it_sends_stores_nothing(app: Flask, mail: Mail) -> None:
    async def view() -> None:
        await asyncio.sleep(0)
        await mail.send_async(message())

    async def serve() -> None:
        task = asyncio.create_task(view())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(serve())
    app.extensions["flask_outbox"].close()
    assert mail.messages() == []


def test_a_script_sends_from_a_loop_of_its_own(app: Flask, server: ScriptedServer) -> None:
    app.config.update(MAIL_URL=f"smtp://127.0.0.1:{server.port}", MAIL_WORKER="thread")
    mail = Mail(app)

    async def main() -> None:
        with app.app_context():
            await asyncio.gather(*(mail.send_async(message()) for _ in range(5)))

    asyncio.run(main())
    app.extensions["flask_outbox"].close()
    assert len(server.messages) == 5


def test_what_waits_to_be_stored_is_stored_at_the_end(app: Flask, mail: Mail) -> None:
    async def send() -> None:
        for _ in range(20):
            asyncio.create_task(mail.send_async(message()))  # noqa: RUF006

    asyncio.run(send())
    app.extensions["flask_outbox"].close()
    assert len(mail.messages()) == 20


def test_context_variables_are_those_of_the_call(mail: Mail) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    heard: list[tuple[str, str]] = []

    def hear(sender: Flask, **more: object) -> None:
        heard.append((tenant.get(), current_app.name))

    async def send(engine: str) -> None:
        tenant.set(engine)
        sending = mail.send_async(message(), engine=engine)
        tenant.set("another")
        await sending

    with message_queued.connected_to(hear), message_sent.connected_to(hear):
        asyncio.run(send("outbox"))
        asyncio.run(send("immediate"))
    name = current_app.name
    assert heard == [("outbox", name), ("immediate", name)]


def test_several_loops_at_once_share_one_application(mail: Mail, server: ScriptedServer) -> None:
    async def send() -> None:
        await asyncio.gather(*(mail.send_async(message(), engine="immediate") for _ in range(5)))

    threads = [threading.Thread(target=lambda: asyncio.run(send())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.messages) == 15


# -- Flask's async views ---------------------------------------------------------------------------------------------


async def send_like_aiosmtplib(port: int) -> None:
    """What ``aiosmtplib.send`` does: a conversation on the loop of the caller."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await reader.readline()
        for said in (
            b"HELO me\r\n",
            b"MAIL FROM:<app@example.org>\r\n",
            b"RCPT TO:<task@example.org>\r\n",
            b"DATA\r\n",
            b"Subject: By a task\r\n\r\nHi\r\n.\r\n",
        ):
            writer.write(said)
            await reader.readline()
    finally:
        writer.close()


def test_a_task_of_a_view_dies_with_it_and_ours_arrives(
    app: Flask, mail: Mail, server: ScriptedServer
) -> None:
    ended = threading.Event()

    @app.get("/")
    async def view() -> str:
        def end(task: asyncio.Task[None]) -> None:
            ended.set()

        asyncio.create_task(send_like_aiosmtplib(server.port)).add_done_callback(end)
        asyncio.create_task(mail.send_async(message(), engine="background"))  # noqa: RUF006
        return "Check your inbox."

    assert app.test_client().get("/").text == "Check your inbox."
    assert ended.is_set()
    wait_until(lambda: len(server.messages) == 1, "message")
    assert server.messages[0].recipients == ["a@example.org"]


def test_the_answer_of_a_view_waits_until_its_mail_is_stored(app: Flask, mail: Mail) -> None:
    @app.get("/")
    async def view() -> str:
        asyncio.create_task(mail.send_async(message()))  # noqa: RUF006
        return "Check your inbox."

    assert app.test_client().get("/").status_code == 200
    assert len(mail.messages()) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_an_async_view_awaits_its_mail(app: Flask, mail: Mail, engine: str) -> None:
    @app.post("/")
    async def view() -> str:
        text = f"Hello {request.args['name']}"
        return (await mail.send_async(message(body=text), engine=engine)).state

    assert app.test_client().post("/?name=Ada").text in ("queued", "sent")
