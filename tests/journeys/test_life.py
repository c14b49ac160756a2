"""The ways an application runs: gunicorn, a script, a worker that is told to stop."""

from __future__ import annotations

import signal
import urllib.request

from journeys.accounting import AccountingServer
from journeys.conftest import Deployment, post
from servers.process import wait_until


def test_gunicorn_with_preloaded_workers_sends_and_delivers(
    server: AccountingServer, deployment: Deployment
) -> None:
    process, url = deployment.gunicorn("--workers=4", "--preload", FLASK_MAIL_WORKER="thread")
    with process:
        ids = [id for number in range(40) for id in post(f"{url}/send/1?first={number}")["ids"]]
        server.wait_for(40)
    assert {message_id[1:33] for message_id in server.copies} == set(ids)
    assert server.duplicates == 0


def test_the_first_request_comes_long_before_the_first_mail(
    server: AccountingServer, deployment: Deployment
) -> None:
    web, url = deployment.gunicorn("--workers=1", FLASK_MAIL_WORKER="thread")
    with web:
        for _ in range(3):
            urllib.request.urlopen(url, timeout=30).close()
        wait_until(deployment.outbox.exists, "the outbox of the worker thread")
        post(f"{url}/send/1")
        server.wait_for(1)
    assert "ERROR" not in web.log.read_text()


def test_a_deploy_of_gunicorn_loses_and_repeats_nothing(
    server: AccountingServer, deployment: Deployment
) -> None:
    """Its workers are replaced (HUP), then all of it (SIGTERM and a new start), each time in the middle of sending."""
    web, url = deployment.gunicorn("--workers=2", FLASK_MAIL_WORKER="thread")
    sent = set(post(f"{url}/send/100")["ids"])
    server.wait_for(20)
    web.signal(signal.SIGHUP)
    while web.log.read_text().count("Booting worker") < 4:
        sent |= set(post(f"{url}/send/5?first={len(sent)}")["ids"])
    sent |= set(post(f"{url}/send/100?first={len(sent)}")["ids"])
    server.wait_for(len(sent) - 80)
    web.signal(signal.SIGTERM)
    assert web.wait() == 0
    second, url = deployment.gunicorn("--workers=2", FLASK_MAIL_WORKER="thread")
    with second:
        urllib.request.urlopen(url, timeout=30).close()
        server.wait_for(len(sent))
    assert {message_id[1:33] for message_id in server.copies} == sent
    assert server.duplicates == 0
    assert "ERROR" not in web.log.read_text()


def test_another_process_takes_over_when_the_draining_one_is_killed(
    server: AccountingServer, deployment: Deployment
) -> None:
    first, url = deployment.gunicorn("--workers=1", FLASK_MAIL_WORKER="thread")
    post(f"{url}/send/1")
    server.wait_for(1)
    second, other = deployment.gunicorn("--workers=1", FLASK_MAIL_WORKER="thread")
    with second:
        post(f"{other}/send/1?first=1")
        server.wait_for(2)
        first.kill()
        post(f"{other}/send/1?first=2")
        server.wait_for(3)


def test_a_script_drains_its_own_mail_before_it_exits(
    server: AccountingServer, deployment: Deployment
) -> None:
    done = deployment.run(
        "with app.app_context():\n    for number in range(50): send_one(number)",
        FLASK_MAIL_WORKER="thread",
    )
    assert done.returncode == 0
    assert "left in the outbox" not in done.stderr
    assert len(server.copies) == 50


def test_a_script_without_a_mail_server_says_what_is_left(deployment: Deployment) -> None:
    done = deployment.run(
        "with app.app_context(): send_one(1)",
        FLASK_MAIL_WORKER="thread",
        FLASK_MAIL_URL="smtp://127.0.0.1:1",
    )
    assert done.returncode == 0
    assert "1 letter" in done.stderr
    assert "flask mail worker" in done.stderr


def test_a_worker_told_to_stop_finishes_and_repeats_nothing(
    server: AccountingServer, deployment: Deployment
) -> None:
    deployment.fill(300)
    for stop_after in (30, 120, 250):
        worker = deployment.worker()
        server.wait_for(stop_after)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    with deployment.worker():
        server.wait_for(300)
    assert server.duplicates == 0


def test_the_external_worker_takes_precedence_over_the_worker_thread(
    server: AccountingServer, deployment: Deployment
) -> None:
    web, url = deployment.gunicorn("--workers=1", FLASK_MAIL_WORKER="thread")
    with web:
        post(f"{url}/send/1")
        server.wait_for(1)
        with deployment.worker() as worker:
            wait_until(
                lambda: "drains the outbox now" in worker.log.read_text(), "the worker's turn"
            )
            post(f"{url}/send/1?first=1")
            server.wait_for(2)
            worker.check_alive()


def test_worker_once_drains_and_exits(server: AccountingServer, deployment: Deployment) -> None:
    deployment.fill(25)
    done = deployment.cli("worker", "--once")
    assert done.returncode == 0, done.stderr
    assert len(server.copies) == 25


def test_a_signal_ends_an_idle_worker_cleanly(deployment: Deployment) -> None:
    deployment.fill(0)
    worker = deployment.worker()
    wait_until(lambda: "drains the outbox now" in worker.log.read_text(), "the worker's start")
    worker.signal(signal.SIGINT)
    assert worker.wait() == 0
    assert "Traceback" not in worker.log.read_text()
