"""What PostgreSQL tells of sends that were committed: LISTEN on a connection of its own, one for a worker.

It only saves waiting: whoever is cut off hears nothing, and the next look at the lanes finds the letters.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.pool import PoolProxiedConnection

from .engine import Database
from .joined_statements import CHANNEL


class Notifications:
    """Those of one environment.

    :param env: of the letters.
    """

    def __init__(self, database: Database, env: str) -> None:
        self._database = database
        self._env = env
        self._connection: PoolProxiedConnection | None = None

    def open(self) -> int | None:
        """Connect and listen; not on the loop.

        :returns: the descriptor that can be read once there is news; None where the driver tells nothing of it.
        :raises OutboxError: the database refused.
        """
        self.close()
        self._connection = self._database.listening(CHANNEL)
        return None if self._connection is None else int(self._driver.fileno())

    @property
    def _driver(self) -> Any:
        return self._connection and self._connection.dbapi_connection

    def heard(self) -> bool:
        """Read the news; never waits.

        :returns: whether there was any for this environment.
        :raises OutboxError: the connection is lost.
        """
        with self._database.explained():
            return self._env in _payloads(self._driver)

    def close(self) -> None:
        """Listen no more."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _payloads(connection: Any) -> list[str]:
    if hasattr(connection, "pgconn"):  # psycopg 3
        connection.pgconn.consume_input()
        found = []
        while (news := connection.pgconn.notifies()) is not None:
            found.append(news.extra.decode())
        return found
    connection.poll()  # psycopg2
    found = [news.payload for news in connection.notifies]
    del connection.notifies[:]
    return found
