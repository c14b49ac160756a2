"""A PostgreSQL of the test run's own, with a database for each test that asks."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import psycopg

from .housed import Housed
from .process import Process, free_port, wait_until

#: The account that it runs under where the tests run as root, whom it refuses.
ACCOUNT = "postgres"


class Postgres(Housed):
    """A running server on a port of 127.0.0.1; killed hard, it may be started again on the same data.

    It flushes nothing to the disk: what a test kills is the process, not the machine.

    :param where: the folder that its own is made in.
    :param settings: of the server, beside or instead of those that the tests need (``fsync="on"``).
    """

    def __init__(self, where: Path | None = None, **settings: object) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flask-outbox-postgres-", dir=where))
        self._settings = settings
        if os.geteuid() == 0:
            shutil.chown(self.folder, ACCOUNT)
        self.port = free_port()
        self._numbers = itertools.count(1)
        try:
            self._make()
            self.start()
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def _make(self) -> None:
        options = ["-U", "outbox", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            [*_unprivileged(), "initdb", "-D", self.folder / "data", *options],
            cwd=self.folder,
            check=True,
            capture_output=True,
        )

    def start(self) -> None:
        """Start it, also after :meth:`kill`."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            # Where two wait for each other, nobody gains by waiting a second until that is looked into.
            "deadlock_timeout": "50ms",
            "max_connections": 60,
            "max_prepared_transactions": 5,
            # A killed one is started again at once, while its children may still hold the old one's segment.
            "shared_memory_type": "mmap",
            **self._settings,
        }
        given = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        self._process = Process(
            [*_unprivileged(), "postgres", "-D", self.folder / "data", *given],
            log=self.folder / "log",
            ports=[self.port],
        )
        wait_until(self._accepts, "PostgreSQL that accepts connections")

    def _accepts(self) -> bool:
        self._process.check_alive()
        try:
            psycopg.connect(self.dsn("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """Kill -9 the server and all it has started."""
        self._process.kill()

    def stop(self) -> None:
        """Stop it; whoever is connected is cut off."""
        self._process.interrupt()

    def close(self) -> None:
        """End it and remove its folder, whoever is connected still."""
        self.kill()
        shutil.rmtree(self.folder)

    def database(self) -> str:
        """Make an empty database.

        :returns: its SQLAlchemy URL.
        """
        name = f"test{next(self._numbers)}"
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql+psycopg://outbox@127.0.0.1:{self.port}/{name}"

    def clear(self, url: str, tables: Iterable[str]) -> None:
        """Cut off whoever is connected to a database and empty those tables; a database for each test takes longer."""
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        with psycopg.connect(self.dsn(url.rpartition("/")[2]), autocommit=True) as connection:
            ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
            connection.execute(ended.encode())
            connection.execute("; ".join(f"DELETE FROM {table}" for table in tables).encode())

    def dsn(self, name: str) -> str:
        """What libpq takes to connect to a database of it."""
        return f"host=127.0.0.1 port={self.port} user=outbox dbname={name}"


def _unprivileged() -> list[str]:
    if os.geteuid() != 0:
        return []
    who = [f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups"]
    # A change of the account lifts the tie to the test run: tied anew.
    return ["setpriv", *who, "--pdeathsig", "KILL", "--"]
