"""What ``flask rq worker`` runs."""

from __future__ import annotations

import os

from flask import Flask
from flask_rq import RQ

from task_queues.application import create_app as create


def create_app() -> Flask:
    app = create(RQ_CONNECTION=os.environ["BROKER"])
    RQ(app)
    return app
