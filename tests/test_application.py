"""Quart's application where Flask's is expected."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
import quart
from quart import Quart

from flask_outbox import Mail, Message, MessageError, message_queued, message_sent
from flask_outbox._application import application_here, context_of, request_here
from servers.process import wait_until
from servers.scripted import ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def app(tmp_path: Path, server: ScriptedServer) -> Iterator[Quart]:
    app = Quart(__name__, instance_path=str(tmp_path / "instance"))
    app.config.update(
        MAIL_URL=f"smtp://127.0.0.1:{server.port}", MAIL_DEFAULT_SENDER="app@example.org"
    )
    yield app
    app.extensions["flask_outbox"].close()


@pytest.fixture
def mail(app: Quart) -> Mail:
    return Mail(app)


def message(**fields: Any) -> Message:
    return Message(**{"subject": "Hello", "recipients": ["a@example.org"], "body": "Hi"} | fields)


def get(app: Quart, path: str = "/") -> str:
    """The answer to a GET, as the test client has it."""

    async def ask() -> str:
        answer = await app.test_client().get(path)
        text: str = await answer.get_data(as_text=True)
        assert answer.status_code == 200, text
        return text

    return asyncio.run(ask())


# -- sending ---------------------------------------------------------------------------------------------------------


def test_a_view_sends_and_the_mail_arrives(app: Quart, mail: Mail, server: ScriptedServer) -> None:
    @app.get("/")
    async def view() -> str:
        return (await mail.send_async(message())).state

    assert get(app) == "queued"
    wait_until(lambda: len(server.messages) == 1, "message")


def test_a_view_that_is_no_coroutine_sends_in_the_thread_that_quart_gives_it(
    app: Quart, mail: Mail, server: ScriptedServer
) -> None:
    @app.get("/")
    def view() -> str:
        return mail.send(message()).state

    assert get(app) == "queued"
    wait_until(lambda: len(server.messages) == 1, "message")


def test_a_background_task_sends(app: Quart, mail: Mail, server: ScriptedServer) -> None:
    @app.get("/")
    async def view() -> str:
        app.add_background_task(send)
        return "Check your inbox."

    async def send() -> None:
        await mail.send_async(message())

    async def ask() -> None:
        async with app.test_app() as running:
            await running.test_client().get("/")

    asyncio.run(ask())
    wait_until(lambda: len(mail.messages()) == 1, "message")


def test_a_websocket_sends(app: Quart, mail: Mail) -> None:
    @app.websocket("/")
    async def view() -> None:
        await quart.websocket.send((await mail.send_async(message())).state)

    async def ask() -> Any:
        async with app.test_client().websocket("/") as socket:
            return await socket.receive()

    assert asyncio.run(ask()) == "queued"


def test_the_answer_of_a_view_waits_until_its_mail_is_stored(app: Quart, mail: Mail) -> None:
    app.config["MAIL_WORKER"] = "external"
    mail.init_app(app)

    @app.get("/")
    async def view() -> str:
        asyncio.create_task(mail.send_async(message()))  # noqa: RUF006
        return "Check your inbox."

    get(app)
    assert len(mail.messages()) == 1


def test_a_template_is_refused_with_advice(app: Quart, mail: Mail) -> None:
    with pytest.raises(MessageError, match=r"await render_template") as caught:
        mail.send(message(template="welcome"))
    assert caught.value.field == "template"


def test_a_test_records_it_and_nothing_is_sent(app: Quart, mail: Mail) -> None:
    app.testing = True

    @app.get("/")
    async def view() -> str:
        return (await mail.send_async(message())).state

    with mail.record_messages() as outbox:
        assert get(app) == "suppressed"
    assert len(outbox) == 1


# -- the end ---------------------------------------------------------------------------------------------------------


def test_what_is_in_memory_is_sent_before_the_application_ends(
    app: Quart, mail: Mail, server: ScriptedServer
) -> None:
    async def serve() -> None:
        async with app.test_app():
            for _ in range(20):
                await mail.send_async(message(), engine="background")

    asyncio.run(serve())
    assert len(server.messages) == 20


def test_an_application_that_has_ended_can_serve_again(
    app: Quart, mail: Mail, server: ScriptedServer
) -> None:
    async def serve() -> None:
        async with app.test_app():
            await mail.send_async(message())

    asyncio.run(serve())
    asyncio.run(serve())
    wait_until(lambda: {view.state for view in mail.messages()} == {"sent"}, "sends")
    assert len(server.messages) == 2


# -- contexts --------------------------------------------------------------------------------------------------------


def test_a_mail_of_two_applications_sends_for_the_current_one(tmp_path: Path) -> None:
    mail, taken = Mail(), []

    async def send(app: Quart) -> None:
        async with app.app_context():
            await mail.send_async(message())

    apps = [Quart(name, instance_path=str(tmp_path / name)) for name in ("one", "two")]
    with message_queued.connected_to(lambda app, **more: taken.append(app)):
        for app in apps:
            app.config.update(MAIL_DEFAULT_SENDER="app@example.org", MAIL_WORKER="external")
            mail.init_app(app)
        for app in apps:
            asyncio.run(send(app))
            app.extensions["flask_outbox"].close()
    assert taken == apps


def test_a_message_has_the_default_sender_of_the_current_application(
    app: Quart, mail: Mail
) -> None:
    @app.get("/")
    async def view() -> str:
        return str(message().sender)

    assert get(app) == "app@example.org"


@pytest.mark.parametrize("engine", ["outbox", "background"])
def test_who_hears_of_a_try_has_the_application_as_current(
    app: Quart, mail: Mail, engine: str
) -> None:
    heard: list[str] = []

    def hear(app: Quart, **more: object) -> None:
        heard.append(quart.current_app.name)

    with message_sent.connected_to(hear):
        mail.send(message(), engine=engine)
        wait_until(lambda: bool(heard), "signal")
    assert heard == [app.name]


def test_a_context_ends_where_it_began(app: Quart, mail: Mail) -> None:
    with context_of(app)():
        assert application_here() is app
    assert application_here() is None


def test_the_teardown_of_a_context_sees_what_was_raised(app: Quart, mail: Mail) -> None:
    seen: list[BaseException | None] = []
    app.teardown_appcontext(seen.append)
    with pytest.raises(ZeroDivisionError), context_of(app)():
        raise ZeroDivisionError
    assert [type(error) for error in seen] == [ZeroDivisionError]


def test_the_request_here_is_the_view_s_own(app: Quart, mail: Mail) -> None:
    @app.get("/")
    async def view() -> str:
        return str(request_here() is quart.request._get_current_object())

    assert get(app) == "True"
    assert request_here() is None


def test_flask_s_context_comes_first(app: Quart, mail: Mail) -> None:
    within = flask.Flask("within")

    @app.get("/")
    async def view() -> str:
        with within.app_context():
            here = application_here()
        return "Flask's" if here is within else "Quart's"

    assert get(app) == "Flask's"
