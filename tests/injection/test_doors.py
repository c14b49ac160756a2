"""Each payload by each way to a real server: what arrives, and what the server was told on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_outbox import Mail
from flask_outbox._cli import mail_cli
from flask_outbox.engines.base import Receipt
from flask_outbox.errors import MessageError
from servers.scripted import CAPABILITIES, ScriptedServer

from .corpus import excerpt
from .doors import DOORS, UNMAKEABLE, misheard
from .oracle import findings
from .places import Place, few_places

PLACES = few_places()
CORPUS = excerpt()
Accepted = list[tuple[Place, str, Receipt]]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    """A server with everything, or with the capabilities of the test's parameter."""
    with ScriptedServer(getattr(request, "param", (*CAPABILITIES, "DSN"))) as server:
        yield server


@pytest.fixture
def app(server: ScriptedServer, tmp_path: Path) -> Flask:
    """An application that sends there."""
    app = Flask(__name__, instance_path=str(tmp_path / "instance"))
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port, MAIL_WORKER="external")
    return app


def sent(app: Flask, door: str, corpus: list[str] = CORPUS) -> Accepted:
    """Send every payload from every place; those that were accepted, each with its receipt."""
    make, send = DOORS[door]
    accepted = []
    mail = Mail(app)
    with app.app_context():
        for place in PLACES:
            for payload in corpus:
                try:
                    message = make(place, payload)
                except UNMAKEABLE:
                    continue  # refused by whoever makes such messages
                try:
                    receipt = send(mail, message)
                except MessageError as error:
                    if not error.field:
                        raise
                else:
                    accepted.append((place, payload, receipt))
    app.extensions["flask_outbox"].close()
    return accepted


def assert_clean(server: ScriptedServer, accepted: Accepted) -> None:
    """Every message arrived as it was asked for, and the server was told nothing else."""
    assert list(misheard(server, [place for place, _, _ in accepted])) == []
    by_id = {receipt.message_id: case for *case, receipt in accepted}
    found = {}
    for content in server.contents:
        message_id = content.partition(b"\r\nMessage-ID: ")[2].partition(b"\r\n")[0].decode()
        place, payload = by_id[message_id]
        if what := findings(content, place.asked(payload)):
            found[place.name, payload] = what
    assert found == {}


@pytest.mark.parametrize("door", DOORS)
def test_nothing_is_smuggled_past_the_server(app: Flask, server: ScriptedServer, door: str) -> None:
    app.config["MAIL_ENGINE"] = "immediate"
    assert_clean(server, sent(app, door))


@pytest.mark.parametrize("server", [("SMTPUTF8", "DSN")], indirect=True)
def test_nor_where_each_command_waits_for_its_reply(app: Flask, server: ScriptedServer) -> None:
    app.config["MAIL_ENGINE"] = "immediate"
    assert_clean(server, sent(app, "send", CORPUS[::2]))


def test_nor_through_the_outbox(app: Flask, server: ScriptedServer) -> None:
    accepted = sent(app, "send", CORPUS[::3])
    result = app.test_cli_runner().invoke(mail_cli, ["worker", "--once"])
    assert result.exit_code == 0, result.output
    assert_clean(server, accepted)
