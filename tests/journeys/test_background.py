"""Mail in memory, in real processes: what arrives, and what is said of the rest."""

from __future__ import annotations

import signal

from journeys.accounting import AccountingServer
from journeys.conftest import Deployment, post

IN_BACKGROUND = {"FLASK_MAIL_ENGINE": "background"}


def test_a_script_sends_what_is_in_its_memory_before_it_exits(
    server: AccountingServer, deployment: Deployment
) -> None:
    done = deployment.run(
        "with app.app_context():\n    for number in range(50): send_one(number)", **IN_BACKGROUND
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(server.copies) == 50
    assert not deployment.outbox.exists()


def test_a_script_without_a_mail_server_says_what_is_lost(deployment: Deployment) -> None:
    done = deployment.run(
        "with app.app_context(): send_one(1)",
        **IN_BACKGROUND,
        FLASK_MAIL_URL="smtp://127.0.0.1:1",
    )
    assert done.returncode == 0
    assert "1 letter(s) are lost" in done.stderr
    assert "dead (lost at exit)" in done.stderr


def test_gunicorn_told_to_stop_sends_what_is_in_memory(
    server: AccountingServer, deployment: Deployment
) -> None:
    web, url = deployment.gunicorn("--workers=1", "--preload", **IN_BACKGROUND)
    post(f"{url}/send/200")
    web.signal(signal.SIGTERM)
    assert web.wait() == 0
    assert len(server.copies) == 200
    assert server.duplicates == 0


def test_a_fork_has_a_memory_of_its_own(server: AccountingServer, deployment: Deployment) -> None:
    done = deployment.run(
        "import os, sys\n"
        "with app.app_context():\n"
        "    send_one(1)\n"
        "    child = os.fork()\n"
        "    send_one(2 if child else 3)\n"
        "if child: os.waitpid(child, 0)\n",
        **IN_BACKGROUND,
    )
    assert done.returncode == 0, done.stderr
    assert (len(server.copies), server.duplicates) == (3, 0)


def test_a_coroutine_that_nobody_awaits_to_its_end_stores_its_mail(
    server: AccountingServer, deployment: Deployment
) -> None:
    done = deployment.run(
        "import asyncio\n"
        "from flask_outbox import Message\n"
        "async def view():\n"
        "    for number in range(20):\n"
        "        message = Message(str(number), recipients=['a@example.org'], body='Hi')\n"
        "        asyncio.create_task(mail.send_async(message))\n"
        "with app.app_context(): asyncio.run(view())\n",
        FLASK_MAIL_WORKER="thread",
    )
    assert done.returncode == 0, done.stderr
    assert len(server.copies) == 20
