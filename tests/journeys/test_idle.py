"""A process with nothing to send sleeps: it looks once a second, and every ten seconds it says that it lives."""

from __future__ import annotations

import pytest

from journeys.conftest import Deployment

#: Lets a worker idle for 50 seconds of a clock that leaps, and ends it: what is over is swept once an hour, first
#: after a minute. Prints how often a timer woke it, and the rounds of its loop.
IDLE = """
import os, signal, sys, threading
from flask_outbox.delivery import loop as loops
from leaping import Leaping

idled = threading.Event()

def done():
    print("woken:", loop.leaps, loop.rounds, flush=True)
    idled.set()
    if WORKER == "external":
        os.kill(os.getpid(), signal.SIGTERM)

def new_loop():
    global loop
    loop = Leaping(grace=0.02, limit=50, done=done)
    loop.may_leap = True
    return loop

loops.new_loop = new_loop
if WORKER == "external":
    from flask.cli import main
    sys.argv[1:] = ["mail", "worker"]
    main()
else:
    app.test_client().get("/")
    assert idled.wait(30)
"""


@pytest.mark.parametrize("worker", ["thread", "external"])
def test_an_idle_worker_is_woken_once_a_second(deployment: Deployment, worker: str) -> None:
    done = deployment.run(f"WORKER = {worker!r}" + IDLE, FLASK_MAIL_WORKER=worker)
    (told,) = (line.split() for line in done.stdout.splitlines() if "woken:" in line)
    woken, rounds = map(int, told[1:])
    assert woken <= 50
    # Four rounds of the loop: the timer, what it leads to, the database's answer, what that leads to.
    assert rounds < 6 * (50 + 5)
