"""The application of a campaign: as the journeys', but with short leases, so that a run needs no half minutes."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from dataclasses import replace

from flask import Flask

from flask_outbox import Message, OutboxError, _config
from flask_outbox.delivery.settings import WorkerSettings
from journeys.application import create_app as create
from journeys.application import mail

#: Seconds: a tenth of those in earnest.
LEASE, HEARTBEAT = 3.0, 1.0


def create_app() -> Flask:
    in_earnest = _config.worker_settings

    def hasty(*given: object) -> dict[bool, WorkerSettings]:
        both = in_earnest(*given)  # type: ignore[arg-type]
        return {
            external: replace(one, lease=LEASE, heartbeat=HEARTBEAT)
            for external, one in both.items()
        }

    _config.worker_settings = hasty  # type: ignore[assignment]
    return create()


def send(first: int) -> None:
    """Send one message for each byte of stdin, and name it on stdout once it was accepted."""
    app, pause = create_app(), threading.Event()
    with app.app_context():
        for number in itertools.count(first):
            if not os.read(0, 1):
                return
            while not (id := _accepted(number)):
                pause.wait(0.05)  # its database was restarted
            os.write(1, f"{id}\n".encode())  # in one write: a kill leaves no half of it


def _accepted(number: int) -> str:
    message = Message(f"Number {number}", recipients=[f"user{number}@example.org"], body="Hello\n")
    try:
        return mail.send(message).id
    except OutboxError as error:
        print(f"refused: {error}", file=sys.stderr)
        return ""


if __name__ == "__main__":
    send(int(os.environ["FIRST"]))
