"""What becomes of the tasks of a Celery app that keeps no results: its worker writes it down, the web process reads.

A task is in Redis until it is acknowledged, when it begins. Then its worker alone has it, and a file of ours says which
process that is.
"""

from __future__ import annotations

import base64
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
import stage
from celery import Celery, signals


class Watch:
    """What is known of the mails of a task.

    :param broker: the Redis that the tasks are on.
    :param folder: what is kept of them.
    """

    def __init__(self, celery: Celery, broker: str, folder: Path) -> None:
        self._queue = celery.conf.task_default_queue
        self._redis = redis.Redis.from_url(broker)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        signals.task_prerun.connect(self._began, weak=False)
        signals.task_failure.connect(self._failed, weak=False)
        signals.task_success.connect(self._ended, weak=False)

    def held(self, email: str) -> stage.Held:
        """Whether it waits or is being sent, or what went wrong."""
        waits = (*self._redis.lrange(self._queue, 0, -1), *self._redis.hvals("unacked"))
        if any(email in _body(one) for one in waits):
            return stage.Held("waiting")
        known = self._read(email)
        if known and (not known["pid"] or _lives(known["pid"])):
            return stage.Held(known["state"], known["said"], 1)
        return stage.Held("")

    # -- in the worker -----------------------------------------------------------------------------------

    def _began(self, args: Any, **_: object) -> None:
        self._write(args, "sending")

    def _failed(self, args: Any, exception: Exception, **_: object) -> None:
        self._write(args, "", said=stage.said_by(exception), pid=0)

    def _ended(self, sender: Any, **_: object) -> None:
        for email in sender.request.args[0]["recipients"]:
            self._path(email).unlink(missing_ok=True)

    # -- the files ---------------------------------------------------------------------------------------

    def _path(self, email: str) -> Path:
        return self._folder / f"{email}.json"

    def _write(self, args: Any, state: str, said: str = "", pid: int | None = None) -> None:
        known = {"state": state, "said": said, "pid": os.getpid() if pid is None else pid}
        for email in args[0]["recipients"]:
            part = self._path(email).with_suffix(".part")
            part.write_text(json.dumps(known), encoding="utf-8")
            part.replace(self._path(email))

    def _read(self, email: str) -> dict[str, Any] | None:
        try:
            return dict(json.loads(self._path(email).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None


def _lives(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def _body(task: bytes | str) -> str:
    """The arguments in a task as it is in Redis; of one that its worker has, behind its place."""
    message = json.loads(task)
    message = message[0] if isinstance(message, list) else message
    return base64.b64decode(message["body"]).decode()
