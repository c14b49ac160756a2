"""The ways to send a mail that are compared, the situations they are tried in, and what became of a mail.

Here is what the page says of them; :mod:`trials` tries them.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Way:
    """One way to send a mail: a view of one of the compared apps.

    :param key: the path of the view.
    :param functions: the ones to be shown, the view first.
    :param worker: whether a worker sends that is a process of its own.
    """

    key: str
    app: str
    name: str
    what: str
    why: str
    functions: tuple[str, ...]
    worker: bool = False

    @property
    def owner(self) -> str:
        """Whose it is, one of :data:`OWNERS`."""
        return self.app.partition("_")[0]

    @property
    def code(self) -> list[tuple[bool, str]]:
        """The lines of the functions as they run, and of each whether it sends."""
        return list(_code(self.app, self.functions))


WAYS = (
    Way(
        "blocking",
        "before",
        "Blocking",
        "Flask-Mail in the view",
        "The visitor waits for the mail server, and an error of the mail server is the visitor's error.",
        ("blocking",),
    ),
    Way(
        "thread",
        "before",
        "Thread",
        "Flask-Mail in a thread",
        "What goes wrong in the thread reaches nobody, and the thread ends with the process.",
        ("thread", "deliver"),
    ),
    Way(
        "asyncio",
        "before",
        "asyncio task",
        "aiosmtplib in an async view",
        "Flask ends the event loop with the view, and with it the task.",
        ("task",),
    ),
    Way(
        "celery-task",
        "before_celery",
        "Celery task",
        "Flask-Mail in a task of Celery",
        "The task is acknowledged when it begins: what a killed worker was sending is lost, and so is what fails.",
        ("welcome", "send_async_email"),
        worker=True,
    ),
    Way(
        "immediate",
        "after",
        "Immediate",
        'engine="immediate"',
        "Waits as the blocking way does, for the mail whose result the visitor must see.",
        ("immediate",),
    ),
    Way(
        "background",
        "after",
        "Background",
        'engine="background"',
        "Keeps the mail in memory and tries again; what a killed process had in memory is lost.",
        ("background",),
    ),
    Way(
        "outbox",
        "after",
        "Outbox",
        "the default",
        "Stores the mail before the view answers; the worker here is a thread of the same process.",
        ("outbox",),
    ),
    Way(
        "celery",
        "after_celery",
        "Celery",
        'MAIL_ENGINE="celery"',
        "Stores the mail, and Celery's worker sends it; what one was sending that is killed, the next one sends.",
        ("welcome",),
        worker=True,
    ),
)

#: Whose ways they are.
OWNERS = {"before": "Flask-Mail and aiosmtplib", "after": "Flask-Outbox"}

#: Each situation with its name and what happens in it.
SITUATIONS = {
    "well": ("All is well", "The mail server answers at once."),
    "slow": ("Slow server", "The mail server takes its time with each mail."),
    "down": ("Server down", "The mail server refuses connections for a while, then it is back."),
    "killed": (
        "Process killed",
        "The mail server takes a second. Right after its view has answered, each process gets kill -9,"
        " Celery's worker once it is sending, and is started again.",
    ),
}

#: What can become of a mail, each with its colour. The words of the outbox's states are among them.
FATES = {
    "asking": "busy",
    "restarting": "busy",
    "waiting": "calm",
    "queued": "calm",
    "sending": "busy",
    "retrying": "warn",
    "sent": "busy",  # says the sender; the mail server is asked next
    "arrived": "good",
    "arrived twice": "warn",
    "failed": "bad",
    "lost": "bad",
    "dead": "bad",
}
#: After these nothing more happens.
OVER = frozenset({"arrived", "arrived twice", "failed", "lost", "dead"})


def way(key: str) -> Way:
    """:raises KeyError: there is no such way."""
    return {one.key: one for one in WAYS}[key]


@cache
def _code(app: str, functions: tuple[str, ...]) -> tuple[tuple[bool, str], ...]:
    text = Path(__file__).with_name(f"{app}.py").read_text(encoding="utf-8")
    lines = text.splitlines()
    found = {
        node.name: lines[min(n.lineno for n in (node, *node.decorator_list)) - 1 : node.end_lineno]
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    shown: list[str] = []
    for name in functions:
        shown += ["", *found[name]] if shown else found[name]
    bare = (re.sub(r"\s*# noqa.*", "", line) for line in shown)
    return tuple((bool(re.search(r"send\(|Thread\(|create_task\(", line)), line) for line in bare)
