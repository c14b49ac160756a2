"""The application of Flask-Mail's tutorials, a thread for each mail, with its import changed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from threading import Thread

import pytest
from flask import Flask

from flask_outbox import Mail, Message
from flask_outbox.delivery import threads
from libraries.deployment import deploy
from libraries.faces import ORIGINAL, OUTBOX
from servers.process import wait_until
from servers.scripted import Gate, ScriptedServer

KILLS = 20
WAYS = ["context-pushed", "context-copied"]


@pytest.mark.parametrize("face", [ORIGINAL, OUTBOX])
def test_the_mail_arrives(face: str, tmp_path: Path) -> None:
    with deploy("tutorial", tmp_path, FACE=face) as site:
        for way in WAYS:
            site.browser().post(f"/{way}/{way}")
            assert site.mail(f"{way}@example.org")["Subject"] == "Reset your password"


def test_a_process_killed_right_after_its_answer_keeps_the_mail(tmp_path: Path) -> None:
    """A process for each mail, so that its very first send, the slowest, is the one that counts."""
    pages = [f"/{WAYS[number % 2]}/user{number}" for number in range(KILLS)]
    env = {"FACE": OUTBOX, "FLASK_MAIL_WORKER": "external"}
    with deploy("tutorial", tmp_path, "--workers=2", "--preload", **env) as site:
        for page in pages:
            answer = json.loads(site.browser().post(page).text)
            os.kill(answer["pid"], signal.SIGKILL)
        with site.worker():
            wait_until(lambda: len(site.server.messages) >= KILLS, f"{KILLS} mails")
    arrived = {message.recipients[0] for message in site.server.messages}
    assert arrived == {f"user{number}@example.org" for number in range(KILLS)}


def test_an_answer_waits_for_no_mail_server(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the immediate engine the thread has something to do, as it had with Flask-Mail."""
    monkeypatch.setattr(threads, "PATIENCE", 1000.0)
    gate = Gate()
    with ScriptedServer(script={"GREETING": (gate, "220 Late")}) as server:
        app.config.update(MAIL_ENGINE="immediate", MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port)
        mail = Mail(app)

        def send() -> None:
            with app.app_context():
                mail.send(Message("Hello", recipients=["ada@example.org"], body="Hi"))

        thread = Thread(target=send)
        app.post("/")(lambda: (thread.start(), "ok")[1])
        assert app.test_client().post("/").text == "ok"
        gate.open()
        thread.join()
        assert len(server.messages) == 1
        app.extensions["flask_outbox"].close()
