"""What ``flask mail status``, ``list`` and ``show`` tell programs: JSON and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from flask_outbox import Mail, Message
from flask_outbox._cli import mail_cli
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Terms
from servers.process import wait_until


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(mail_cli, arguments)


def send(mail: Mail) -> str:
    return mail.send(Message("Grüße", recipients=["a@example.org"], body="x")).id


def store_of(app: Flask) -> Store:
    store = app.extensions["flask_outbox"].wiring.store
    assert isinstance(store, Store)
    return store


def printed(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    (line,) = result.output.splitlines()
    return json.loads(line)


def test_status_as_json(app: Flask, mail: Mail) -> None:
    send(mail)
    store_of(app).pause("default", "maintenance", by="person")
    found = printed(run(app, "status", "--json"))
    assert (found["counts"], found["paused"]) == ({"queued": 1}, {"default": "maintenance"})


def test_list_as_json(app: Flask, mail: Mail) -> None:
    letter_id = send(mail)
    (found,) = printed(run(app, "list", "--json"))
    assert (found["id"], found["subject"]) == (letter_id, "Grüße")
    assert found["recipients"][0]["address"] == "a@example.org"


def test_an_empty_list_is_json_too(app: Flask, mail: Mail) -> None:
    assert printed(run(app, "list", "--json")) == []


def test_show_as_json(app: Flask, mail: Mail) -> None:
    letter_id = send(mail)
    found = printed(run(app, "show", letter_id, "--json"))
    assert (found["state"], found["attempts"]) == ("queued", [])


# -- monitoring ------------------------------------------------------------------------------------------------


def test_an_external_worker_that_is_silent_is_exit_code_2(app: Flask, mail: Mail) -> None:
    assert run(app, "status", "--check").exit_code == 2


def test_a_worker_that_has_just_shown_itself_is_exit_code_0(app: Flask, mail: Mail) -> None:
    send(mail)
    store_of(app).register_worker(time.time())
    assert run(app, "status", "--check").exit_code == 0


def test_a_worker_that_has_not_shown_itself_for_a_minute_is_exit_code_2(
    app: Flask, mail: Mail
) -> None:
    store_of(app).register_worker(time.time() - 61)
    assert run(app, "status", "--check").exit_code == 2


def test_what_is_overdue_is_exit_code_1(app: Flask, mail: Mail) -> None:
    send(mail)
    store_of(app).register_worker(time.time())
    assert run(app, "status", "--check", "--overdue", "0s").exit_code == 1


def test_a_worker_thread_is_missed_only_where_something_is_overdue(app: Flask) -> None:
    app.config["MAIL_WORKER"] = "thread"
    mail = Mail(app)
    assert run(app, "status", "--check").exit_code == 0
    store = store_of(app)
    with app.app_context():
        message = Message("Hello", recipients=["a@example.org"], body="x")
        letter = app.extensions["flask_outbox"].seal(mail.state, message, "1" * 32, time.time())
    store.add([(letter, Terms())], time.time() - 600)
    assert run(app, "status", "--check").exit_code == 2
    app.extensions["flask_outbox"].close()


def test_to_watch_and_to_check_is_a_contradiction(app: Flask, mail: Mail) -> None:
    assert run(app, "status", "--check", "--watch").exit_code == 2
    assert "cannot both be given" in run(app, "status", "--check", "--watch").output


@pytest.mark.skipif(sys.platform == "win32", reason="there, signals go to groups alone")
def test_status_is_shown_again_and_again_until_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from flask import Flask\nfrom flask_outbox import Mail\n"
        "app = Flask(__name__, instance_path=__file__ + '.d')\nMail(app)\n"
    )
    command = [sys.executable, "-m", "flask", "mail", "status", "--watch", "--json"]
    watching = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    with watching:
        assert watching.stdout is not None
        first, second = watching.stdout.readline(), watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        watching.stdout.read()
    assert json.loads(first) == json.loads(second)
    assert watching.returncode == 0


# -- by hand ---------------------------------------------------------------------------------------------------


def test_everything_is_paused_and_goes_on_by_one_command(app: Flask, mail: Mail) -> None:
    send(mail)
    assert "flask mail resume --all" in run(app, "pause", "--all").output
    shown = run(app, "status").output
    assert "Everything is paused: paused by hand" in shown
    assert "flask mail resume', with --all" in shown
    assert "But everything is paused" in run(app, "resume", "default").output
    assert run(app, "resume", "--all").output == "Everything is open.\n"
    assert run(app, "resume", "--all").output == "Nothing was paused.\n"


def test_purge_counts_first_and_deletes_then(app: Flask, mail: Mail) -> None:
    letter_id = send(mail)
    run(app, "cancel", letter_id)
    ended = time.time()
    wait_until(lambda: time.time() > ended + 0.002, "a later millisecond")
    purge = ("purge", "--state", "cancelled", "--older-than", "0s")
    assert run(app, *purge, "--dry-run").output == "1 cancelled messages would be deleted.\n"
    assert run(app, *purge).stdout == "1 cancelled messages were deleted.\n"
    assert mail.get(letter_id) is None


def test_purge_leaves_what_is_younger(app: Flask, mail: Mail) -> None:
    run(app, "cancel", send(mail))
    assert run(app, "purge", "--state", "cancelled", "--older-than", "30d").stdout.startswith("0 ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--state", "queued", "--older-than", "1d"),
        ("--state", "sent", "--older-than", "1m"),
        ("--state", "sent"),
        ("--older-than", "1d"),
    ],
)
def test_purge_refuses_states_that_are_no_end_and_units_that_are_none(
    app: Flask, mail: Mail, arguments: tuple[str, ...]
) -> None:
    assert run(app, "purge", *arguments).exit_code == 2


def test_purge_does_what_the_settings_say(app: Flask, mail: Mail) -> None:
    app.config["MAIL_RETENTION"] = "cancelled=0s"
    mail.init_app(app)
    run(app, "cancel", send(mail))
    assert printed(run(app, "purge", "--json", "--dry-run"))["messages"] == 1
    assert run(app, "purge").stdout == "1 messages were deleted.\n"


def test_purge_takes_only_bodies(app: Flask, mail: Mail) -> None:
    letter_id = send(mail)
    run(app, "cancel", letter_id)
    purge = ("purge", "--bodies", "--state", "cancelled", "--older-than", "0s")
    assert run(app, *purge).stdout == "The contents of 1 cancelled messages were deleted.\n"
    assert printed(run(app, "show", letter_id, "--json"))["subject"] == "Grüße"
    failed = run(app, "retry", letter_id)
    assert (failed.exit_code, "its content was deleted" in failed.output) == (1, True)
