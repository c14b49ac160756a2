"""The ways of running an application, and what is claimed of each.

The one table: the tests take their cases from it, and the manual its page (``docs/ways.md``). It imports nothing but
the standard library, because the manual is built without the tests' packages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Claim(StrEnum):
    """The columns. Each name is a method of :class:`ways.runner.Runner`."""

    SENDS = "sends"
    DRAINS = "drains at exit"
    SURVIVES = "survives kill -9"
    RESTARTS = "restarts after fork"


@dataclass(frozen=True, slots=True)
class Cell:
    """What is claimed.

    :param applies: whether there is anything to claim; a cell that applies has a test.
    :param note: Markdown: the condition or limit of a claim, or why there is none.
    """

    applies: bool = True
    note: str = ""


def yes(note: str = "") -> Cell:
    """It does, and a test shows it."""
    return Cell(note=note)


def none(why: str) -> Cell:
    """It does not apply."""
    return Cell(applies=False, note=why)


@dataclass(frozen=True, slots=True)
class Way:
    """A row.

    :param name: Markdown, for the manual.
    :param kind: which runner the tests start it with, a key of ``ways.runners.RUNNERS``.
    :param command: what the runner starts: for a web server the command, where ``{port}`` and ``{app}`` are filled in;
        for others see their runner.
    :param stop: the signal that asks it to end.
    :param respawns: whether the server replaces a process of its own that died.
    """

    name: str
    kind: str
    command: str = ""
    sends: Cell = Cell()
    drains: Cell = Cell()
    survives: Cell = Cell()
    restarts: Cell = Cell()
    stop: str = "SIGTERM"
    respawns: bool = False

    @property
    def slug(self) -> str:
        """The name as the tests show it."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    def cell(self, claim: Claim) -> Cell:
        """The cell of a column."""
        found: Cell = getattr(self, claim.name.lower())
        return found


_FLASK = "flask run --port={port}"
_GUNICORN = "gunicorn --bind=127.0.0.1:{port}"
_UWSGI = (
    "uwsgi --http-socket=127.0.0.1:{port} --master --need-app --wsgi={app}"
    " --hook-master-start='unix_signal:15 gracefully_kill_them_all'"
)
_HYPERCORN = "hypercorn --bind=127.0.0.1:{port}"
_UVICORN = "uvicorn --port={port} --factory"
_ASYNC = "ways.asgi_application"

_BY_CTRL_C = yes("At Ctrl-C (SIGINT). SIGTERM ends it like `kill -9`: it does not tell Python.")
_BY_HOOK = yes(
    "With `--hook-master-start='unix_signal:15 gracefully_kill_them_all'`. By itself uWSGI takes SIGTERM for a reload;"
    " with `--die-on-term` it tells Python nothing of the end of a process that is answering a request."
)
_DEVELOPMENT = "The processes that your code forks. The server itself has one."
_NOTHING = none("It sends nothing, so it starts no thread and opens no file.")

WAYS = (
    Way(
        "`flask run`",
        "web",
        f"{_FLASK} --no-reload",
        drains=_BY_CTRL_C,
        restarts=yes(_DEVELOPMENT),
        stop="SIGINT",
    ),
    Way(
        "`flask run --debug`, with the reloader",
        "web",
        f"{_FLASK} --debug",
        drains=_BY_CTRL_C,
        restarts=yes(f"{_DEVELOPMENT} A reload is an exit and a start."),
        stop="SIGINT",
    ),
    Way("gunicorn, `sync`", "web", f"{_GUNICORN} --workers=2 {{app}}", respawns=True),
    Way(
        "gunicorn, `sync`, `--preload`",
        "web",
        f"{_GUNICORN} --workers=2 --preload {{app}}",
        respawns=True,
    ),
    Way("gunicorn, `gthread`", "web", f"{_GUNICORN} --threads=4 {{app}}", respawns=True),
    Way(
        "gunicorn, `gthread`, `--preload`",
        "web",
        f"{_GUNICORN} --threads=4 --preload {{app}}",
        respawns=True,
    ),
    Way("gunicorn, `gevent`", "web", f"{_GUNICORN} --worker-class=gevent {{app}}", respawns=True),
    Way(
        "gunicorn, `gevent`, `--preload`",
        "web",
        f"{_GUNICORN} --worker-class=gevent --preload {{app}}",
        respawns=True,
    ),
    Way(
        "uWSGI, `--master`",
        "web",
        _UWSGI,
        sends=yes(
            "Where uWSGI's log says that Python threads support is disabled, it needs `--enable-threads`: without it,"
            " the worker thread runs only while a request does. Version 2.0.30 has it by default."
        ),
        drains=_BY_HOOK,
        respawns=True,
    ),
    Way(
        "uWSGI, `--master --lazy-apps`",
        "web",
        f"{_UWSGI} --lazy-apps",
        drains=_BY_HOOK,
        respawns=True,
    ),
    Way(
        "waitress",
        "web",
        "waitress-serve --listen=127.0.0.1:{port} --call ways.application:create_app",
        drains=yes(
            "At SIGINT. SIGTERM ends it like `kill -9`: let the service manager send SIGINT."
        ),
        restarts=yes(_DEVELOPMENT),
        stop="SIGINT",
    ),
    Way("Flask by `asgiref`, hypercorn", "web", f"{_HYPERCORN} {_ASYNC}:create_asgi()"),
    Way(
        "Flask by `asgiref`, uvicorn",
        "web",
        f"{_UVICORN} {_ASYNC}:create_asgi",
        drains=none(
            "uvicorn ends itself by the signal; [what was being sent is sent again](from-asyncio.md#where-it-runs)."
        ),
    ),
    Way("Quart, hypercorn", "web", f"{_HYPERCORN} {_ASYNC}:create_quart()"),
    Way("Quart, uvicorn", "web", f"{_UVICORN} {_ASYNC}:create_quart"),
    Way(
        "mod_wsgi, and other subinterpreters",
        "subinterpreter",
        survives=none("An interpreter cannot be killed without its process."),
        restarts=none("Python refuses to fork in one."),
    ),
    Way("a script, a cron job", "script", "python {script}"),
    Way("a command of yours, `flask …`", "script", "flask execute {script}"),
    Way("`flask shell`", "script", "flask shell"),
    Way(
        "`flask routes`, `flask db upgrade`",
        "command",
        sends=_NOTHING,
        drains=_NOTHING,
        survives=_NOTHING,
        restarts=_NOTHING,
    ),
    Way(
        "`flask mail worker`",
        "worker",
        "flask mail worker",
        restarts=none("It does not fork. SIGHUP starts it again in the same process."),
    ),
    Way(
        "`flask mail worker --processes 2`",
        "supervised worker",
        "flask mail worker --processes=2 --health-file={folder}/health",
        restarts=yes("A process that dies is replaced. On an SQLite file, the other one goes on."),
    ),
    Way(
        "`flask mail worker --once`, by cron",
        "worker once",
        "flask mail worker --once",
        restarts=none("It does not fork."),
    ),
    Way("`multiprocessing`, `fork`", "multiprocessing", "fork"),
    Way(
        "`multiprocessing`, `spawn`",
        "multiprocessing",
        "spawn",
        restarts=yes("A spawned process starts anew, and takes nothing along."),
    ),
    Way(
        "`pytest -n`, by pytest-xdist",
        "xdist",
        drains=yes("Each of its processes is a script. A file that they share has one drainer."),
        survives=none("What a test has sent is over with it."),
        restarts=none("Its processes are spawned."),
    ),
)
