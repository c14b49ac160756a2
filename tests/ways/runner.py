"""What shows the claims of the table: one runner for each kind of way."""

from __future__ import annotations

import threading
from pathlib import Path

from flask_outbox.ledger.reports import Reports
from flask_outbox.ledger.store import Store
from flask_outbox.rules.states import State
from journeys.accounting import AccountingServer
from journeys.conftest import Deployment
from servers.process import wait_until
from ways.table import Way


class Runner:
    """Starts one way of running. Each claim is a method that returns when it has been seen to hold.

    A claim neither needs another one before it nor is disturbed by it, so that a server may live through several.
    """

    def __init__(self, way: Way, folder: Path, server: AccountingServer) -> None:
        self.way = way
        self.folder = folder
        self.server = server
        self.deployment = Deployment(folder, server.port)
        self.env = self.deployment.env | {
            "FLASK_APP": "ways.application:create_app",
            "FLASK_MAIL_URL": f"smtp://127.0.0.1:{server.port}?pool=1",
            "FLASK_MAIL_WORKER": "thread",
        }
        self.sent: set[str] = set()

    def sends(self) -> None:
        """What is sent arrives while the process lives."""
        raise NotImplementedError

    def drains(self) -> None:
        """Told to end, it finishes what it has begun, and ends."""
        raise NotImplementedError

    def survives(self) -> None:
        """What ``send()`` has returned for arrives, whatever is killed."""
        raise NotImplementedError

    def restarts(self) -> None:
        """The child of a fork sends as its parent does."""
        raise NotImplementedError

    def close(self) -> None:
        """End what still runs."""

    # -- what the runners share --------------------------------------------------------------------------------

    def wait_for_all(self) -> None:
        """Return when every letter sent so far is with the server."""
        wait_until(lambda: self.sent <= self.arrived(), "letters at the server")

    def arrived(self) -> set[str]:
        """The ids of the letters that are with the server, of whoever sent them."""
        return {message_id[1:33] for message_id in list(self.server.copies)}

    def check_written_down(self, since: int) -> None:
        """Whether the outbox agrees with the server, so that the next process repeats nothing.

        :param since: copies that may have been made before: by a kill, not by an exit.
        """
        assert self.server.duplicates == since
        arrived = self.arrived()
        states = self.states()
        assert {
            id for id, state in states.items() if state == State.SENT
        } == arrived & states.keys()
        assert set(states.values()) <= {State.SENT, State.QUEUED}

    def states(self) -> dict[str, str]:
        """The state of each letter in the outbox."""
        store = Store(f"sqlite:///{self.deployment.outbox}")
        found = {view.id: view.state for view in Reports(store).list(limit=1000)}
        store.dispose()
        return found


class Gate:
    """Holds the server's reply to the next content until it is opened."""

    def __init__(self, server: AccountingServer) -> None:
        self._reached, self._open = threading.Event(), threading.Event()
        self._server = server
        server.on_content = self._hold

    def wait(self) -> None:
        """Return when a content has arrived."""
        assert self._reached.wait(30), "nothing was sent"

    def open(self) -> None:
        """Let the server go on."""
        self._server.on_content = lambda count: None
        self._open.set()

    def _hold(self, count: int) -> None:
        self._reached.set()
        self._open.wait(30)
