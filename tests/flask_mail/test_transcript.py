"""``MAIL_DEBUG``: what is said to the server can be read, but no secret and no content."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from flask_outbox import Mail
from servers.scripted import ScriptedServer

from .conftest import message

LOGGER = logging.getLogger("flask_outbox.smtp")


@pytest.fixture(autouse=True)
def _quiet_again() -> Iterator[None]:
    yield
    LOGGER.setLevel(logging.NOTSET)
    LOGGER.handlers.clear()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER.name]


def test_the_conversation_is_logged(
    immediate: Callable[..., Mail], server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    immediate(server, MAIL_DEBUG=True).send(message(body="a private word"))
    lines = said(caplog)
    assert "send: RCPT TO:<you@example.org>" in lines
    assert any(line.startswith("reply: 220 ") for line in lines)
    assert any(line.startswith("send: a content of ") for line in lines)
    assert "private" not in "".join(lines)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_login_is_logged_without_its_secrets(
    immediate: Callable[..., Mail], caplog: pytest.LogCaptureFixture, mechanism: str
) -> None:
    with ScriptedServer(accounts={"me": "hunter2"}, mechanisms=mechanism) as server:
        immediate(server, MAIL_DEBUG=True, MAIL_USERNAME="me", MAIL_PASSWORD="hunter2").send(
            message()
        )
        words = {word for command in server.sessions[0].commands for word in command.split()}
    lines = said(caplog)
    assert any(f"AUTH {mechanism}" in line for line in lines)
    secrets = {word for word in words if len(word) > 3} - {"AUTH", mechanism}
    shown = [line for line in lines if "AUTH" in line or "***" in line]
    assert not [word for word in secrets if any(word in line for line in shown)]


@pytest.mark.parametrize("debug", [False, None])
def test_without_it_nothing_is_logged(
    immediate: Callable[..., Mail],
    server: ScriptedServer,
    caplog: pytest.LogCaptureFixture,
    debug: bool | None,
) -> None:
    immediate(server, MAIL_DEBUG=debug).send(message())
    assert not said(caplog)


def test_the_outbox_engine_logs_no_conversation(mail: Mail) -> None:
    mail.state.debug = 1
    mail.send(message())
    assert LOGGER.level == logging.NOTSET
