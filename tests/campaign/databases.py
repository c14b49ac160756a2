"""The databases that a campaign can be fought on, each in servers of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.mariadb import MariaDB
from servers.postgres import Postgres

#: The URL of an empty database, and what restarts its server hard; None where there is no server.
Field = tuple[str, Callable[[], None] | None]


@contextmanager
def field(name: str, folder: Path) -> Iterator[Field]:
    """Start what ``sqlite``, ``postgresql`` or ``mariadb`` needs."""
    if name == "sqlite":
        yield f"sqlite:///{folder}/outbox.sqlite", None
        return
    with {"postgresql": Postgres, "mariadb": MariaDB}[name]() as server:

        def restart() -> None:
            server.kill()
            server.start()

        yield server.database(), restart
