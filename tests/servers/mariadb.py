"""A MariaDB of the test run's own, with a database for each test that asks."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pymysql

from .housed import Housed
from .process import Process, free_port, wait_until

#: The account that it runs under where the tests run as root, whom it refuses. Its own comes with a service of it.
ACCOUNT, GROUP = "nobody", "nogroup"


class MariaDB(Housed):
    """A running server on a port of 127.0.0.1; killed hard, it may be started again on the same data.

    It flushes nothing to the disk: what a test kills is the process, not the machine.

    :param where: the folder that its own is made in.
    :param settings: of the server, beside or instead of those that the tests need, with ``_`` for ``-``.
    """

    def __init__(self, where: Path | None = None, **settings: object) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flask-outbox-mariadb-", dir=where))
        self._settings = {name.replace("_", "-"): value for name, value in settings.items()}
        if os.geteuid() == 0:
            shutil.chown(self.folder, ACCOUNT, GROUP)
        self.port = free_port()
        self._numbers = itertools.count(1)
        try:
            self._make()
            self.start()
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def _make(self) -> None:
        options = ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
        made = subprocess.run(
            [
                *_unprivileged(),
                "mariadb-install-db",
                *options,
                *_basedir(),
                f"--datadir={self.folder}/data",
            ],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise RuntimeError(f"mariadb-install-db:\n{made.stdout[-1000:]}{made.stderr[-1000:]}")

    def start(self) -> None:
        """Start it, also after :meth:`kill`."""
        settings = {
            "datadir": self.folder / "data",
            # One that starts clears away what it finds there, also what another one is using.
            "tmpdir": self.folder,
            "socket": self.folder / "socket",
            "pid-file": self.folder / "pid",
            "bind-address": "127.0.0.1",
            "port": self.port,
            # Written at each commit: it survives the kill of the server, not that of the machine.
            "innodb-flush-log-at-trx-commit": 2,
            "innodb-log-file-size": "32M",
            "innodb-buffer-pool-size": "64M",
            "max-connections": 60,
            **self._settings,
        }
        given = [f"--{name}={value}" for name, value in settings.items()]
        program = ["mariadbd", "--no-defaults", "--skip-name-resolve", *_basedir()]
        self._process = Process(
            [*_unprivileged(), *program, *given], log=self.folder / "log", ports=[self.port]
        )
        wait_until(self._accepts, "MariaDB that accepts connections")

    def _accepts(self) -> bool:
        self._process.check_alive()
        try:
            self.connect().close()
        except pymysql.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """Kill -9 the server."""
        self._process.kill()

    def stop(self) -> None:
        """Stop it; whoever is connected is cut off."""
        self._process.stop()

    def close(self) -> None:
        """End it and remove its folder, whoever is connected still."""
        self.kill()
        shutil.rmtree(self.folder)

    def database(self) -> str:
        """Make an empty database.

        :returns: its SQLAlchemy URL.
        """
        name = f"test{next(self._numbers)}"
        with self.connect() as connection:
            connection.cursor().execute(f"CREATE DATABASE {name}")
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{name}"

    def clear(self, url: str, tables: Iterable[str]) -> None:
        """Cut off whoever is connected to a database and empty those tables; a database for each test takes longer."""
        name = url.rpartition("/")[2]
        with self.connect(name) as connection:
            cursor = connection.cursor()
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE db = %s AND id <> connection_id()",
                (name,),
            )
            for (id,) in cursor.fetchall():
                try:
                    cursor.execute("KILL %s", (id,))
                except pymysql.OperationalError:  # it has gone by itself
                    continue
            for table in tables:
                cursor.execute(f"DELETE FROM {table}")

    def connect(self, name: str | None = None) -> pymysql.Connection[pymysql.cursors.Cursor]:
        """A connection of the test's own."""
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=name, autocommit=True
        )


def _basedir() -> list[str]:
    """Where its files lie, for one that is not installed but unpacked."""
    found = Path(shutil.which("mariadb-install-db") or "")
    unpacked = found.parents[1] / "root" / "usr" if ".servers" in found.parts else None
    return [f"--basedir={unpacked.absolute()}"] if unpacked else []


def _unprivileged() -> list[str]:
    if os.geteuid() != 0:
        return []
    who = [f"--reuid={ACCOUNT}", f"--regid={GROUP}", "--clear-groups"]
    # A change of the account lifts the tie to the test run: tied anew.
    return ["setpriv", *who, "--pdeathsig", "KILL", "--"]
