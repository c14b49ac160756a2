"""Trying the ways of sending: each asks a real view of a real process, and what became of the mail is looked up.

Each mail goes to an address that no other has. It has arrived if the mail server keeps one for that address; it is
lost if the mail server has none, and neither the process nor its outbox has it any more. The results are in a file,
``trials.json``.
"""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

import control
from compared import OVER, SITUATIONS, WAYS, Way, way
from spool import Faults, Spool

Item = TypeVar("Item")

#: How long a view, a restart or the fate of a mail is waited for.
PATIENCE = 90

#: What the mail server takes for a mail while processes are killed.
ORDINARY_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Trial:
    """One way in one situation.

    :param started: Unix seconds.
    :param took: seconds that the view took; None while it has not answered.
    :param status: of its answer.
    :param error: what it said where it failed.
    :param killed: seconds until its process was killed, after the answer.
    :param said: the last thing that went wrong with the mail.
    :param after: seconds until the mail server had it.
    """

    way: str
    situation: str
    email: str
    started: float
    took: float | None = None
    status: int = 0
    error: str = ""
    killed: float | None = None
    fate: str = "asking"
    said: str = ""
    attempts: int = 0
    after: float | None = None

    @property
    def over(self) -> bool:
        return self.fate in OVER

    @property
    def outlived(self) -> bool:
        """Whether the mail arrived although the process that took it was dead by then."""
        return self.killed is not None and self.after is not None and self.after > self.killed

    @property
    def short_error(self) -> str:
        """The error's type and the end of its text, which is what went wrong."""
        type, _, text = self.error.partition(": ")
        return f"{type}: {text.rpartition(': ')[2]}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a view said, and how long it took by the clock within it."""

    status: int
    text: str
    took: float


@dataclass(frozen=True, slots=True)
class Run:
    """The run that goes on, or the last one.

    :param situation: by its name.
    :param back_in: seconds until the mail server is up again, where it is down.
    :param spoken: for those who listen; it changes only when the situation does.
    """

    running: bool
    situation: str
    back_in: float | None
    trouble: str
    spoken: str


class Gone(Exception):
    """A process does not answer; it may be on its way back."""


class Book:
    """The last trial of each way in each situation, in a file that outlives the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        given = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        trials = [Trial(**one) for one in given if one["fate"] != "asking"]
        self._trials = {(one.way, one.situation): one for one in trials}

    def __iter__(self) -> Iterator[Trial]:
        with self._lock:
            return iter(list(self._trials.values()))

    def find(self, way: str, situation: str) -> Trial | None:
        return self._trials.get((way, situation))

    def write(self, trial: Trial) -> None:
        with self._lock:
            self._trials[trial.way, trial.situation] = trial
            part = self._path.with_suffix(".part")
            part.write_text(json.dumps([asdict(one) for one in self._trials.values()]), "utf-8")
            part.replace(self._path)


class Trials:
    """Tries ways in situations, one run at a time, and looks after the mail until its fate is known."""

    def __init__(self, folder: Path, spool: Spool) -> None:
        self._spool = spool
        self._ports = control.ports()
        self._starting = threading.Lock()
        self._runner: threading.Thread | None = None
        self._warm: set[tuple[int, str]] = set()  # the pid and the way
        self.book = Book(folder / "trials.json")
        self._back = 0.0  # when the mail server is up again, in Unix seconds
        self.situation = ""
        self.trouble = ""

    @property
    def possible(self) -> bool:
        """Whether the compared apps are there."""
        return bool(self._ports)

    @property
    def ways(self) -> list[Way]:
        """Those that can be tried here, or could be; where Celery or its Redis is missing, not those."""
        return [one for one in WAYS if one.app in self._ports or not one.worker]

    @property
    def running(self) -> bool:
        return self._runner is not None and self._runner.is_alive()

    def run(self) -> Run:
        """How it stands."""
        running, name, spoken = self.running, "", ""
        back_in = self._back - time.time() if self.situation == "down" and running else 0
        if self.situation:
            name = SITUATIONS[self.situation][0]
            found = (self.book.find(one.key, self.situation) for one in self.ways)
            fates = Counter(one.fate for one in found if one)
            ended = ", ".join(f"{number} {fate}" for fate, number in fates.items())
            spoken = f"Trying: {name}." if running else f"{name}: {ended}."
        return Run(running, name, max(back_in, 0) or None, self.trouble, spoken)

    def start(
        self, ways: Sequence[Way], situations: Sequence[str], seconds: Mapping[str, float]
    ) -> bool:
        """Begin a run, unless one goes on.

        :param seconds: how slow the mail server is in ``slow``, and how long it is down in ``down``.
        """
        with self._starting:
            if self.running:
                return False
            self.situation, self.trouble = situations[0], ""
            given = (ways, situations, seconds)
            self._runner = threading.Thread(target=self._try_all, args=given, daemon=True)
            self._runner.start()
            return True

    def look(self) -> None:
        """See what has become of the mails whose fate was not known yet."""
        for trial in self.book:
            if self.possible and not self.running and not trial.over:
                self._look_at(trial)

    def _try_all(
        self, ways: Sequence[Way], situations: Sequence[str], seconds: Mapping[str, float]
    ) -> None:
        try:
            for situation in situations:
                self.situation = situation
                if situation == "killed":
                    self._try_killing(ways)
                else:
                    self._try(ways, seconds.get(situation, 0))
        except (Gone, TimeoutError) as error:
            self.trouble = str(error)
        finally:
            self._spool.set_faults(Faults())

    # -- the situations ----------------------------------------------------------------------------------

    def _try(self, ways: Sequence[Way], seconds: float) -> None:
        """Try the ways with the mail server as it is to be; those of one app one after the other."""
        self._set(Faults())
        together(self._warm_up, ways)
        if self.situation == "slow":
            self._set(Faults("slow", seconds, time.time() + PATIENCE))
        elif self.situation == "down":
            self._back = time.time() + seconds
            self._set(Faults("down", until=self._back))
        together(lambda row: [self._ask(one) for one in row], by_app(ways))
        self._watch(ways)

    def _try_killing(self, ways: Sequence[Way]) -> None:
        """Kill each way's process right after its answer; the apps keep step, as they share the mail server."""
        for both in zip_longest(*by_app(ways)):
            row = [one for one in both if one is not None]
            self._set(Faults())
            together(self._warm_up, row)
            self._set(Faults("slow", ORDINARY_SECONDS, time.time() + PATIENCE))
            together(self._ask_and_kill, row)
        self._watch(ways)

    def _set(self, faults: Faults) -> None:
        """Ask the mail server for something, and wait until it obeys."""
        self._spool.set_faults(faults)
        until(lambda: self._listens() is (faults.mode != "down"), "The mail server does not obey.")

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._spool.port() or 0), timeout=5).close()
        except ConnectionRefusedError:
            return False
        return True

    def _warm_up(self, one: Way) -> None:
        """Send a mail that is not counted, so that none pays for what a process does once."""
        if one.worker:
            control.ask(control.Order.START, control.CELERY)
        until(lambda: self._pid(one.app) > 0, f"{one.app}.py does not answer.")
        pid = self._pid(one.app)
        if (pid, one.key) not in self._warm:
            email = f"warm-up.{secrets.token_hex(4)}.{one.key}@example.org"
            self._request(one.app, f"/{one.key}", {"email": email})
            if one.worker:
                until(
                    lambda: bool(self._arrived(email)), f"The worker of {one.app}.py does not work."
                )
            self._warm.add((pid, one.key))

    def _ask(self, one: Way) -> Trial:
        """Let a view send a mail, and note its answer."""
        email = f"{one.key}.{secrets.token_hex(4)}@example.org"
        trial = Trial(one.key, self.situation, email, time.time())
        self.book.write(trial)
        try:
            answer = self._request(one.app, f"/{one.key}", {"email": email})
        except Gone as gone:
            self.book.write(replace(trial, fate="failed", error=str(gone)))
            raise
        failed = answer.status >= 400
        error = answer.text if failed else ""
        fate = "failed" if failed else "waiting"
        trial = replace(trial, took=answer.took, status=answer.status, error=error, fate=fate)
        self.book.write(trial)
        return trial

    def _ask_and_kill(self, one: Way) -> None:
        pid = self._pid(one.app)
        trial = self._ask(one)
        if one.worker:
            until(lambda: self._sends(one, trial), f"The worker of {one.app}.py does not send.")
        control.ask(control.Order.KILL, one.app)
        self.book.write(replace(trial, killed=time.time() - trial.started))
        until(lambda: self._pid(one.app) not in {0, pid}, f"{one.app}.py did not come back.")

    # -- what became of it -------------------------------------------------------------------------------

    def _watch(self, ways: Sequence[Way]) -> None:
        """Look until every fate is known, and not before the mail server is back: what is lost might come late."""

        def settled() -> bool:
            watched = [self.book.find(one.key, self.situation) for one in ways]
            seen = [self._look_at(one) for one in watched if one is not None]
            return self._listens() and all(one.over for one in seen)

        until(settled, "Some mail is still on its way.", pause=0.2)

    def _look_at(self, trial: Trial) -> Trial:
        """Ask its process first and the mail server then, so that nothing slips through in between."""
        one = way(trial.way)
        held = self._held(one, trial)
        seen = judge(trial, held, self._arrived(trial.email))
        if seen != trial:
            self.book.write(seen)
        return seen

    def _sends(self, one: Way, trial: Trial) -> bool:
        """Whether it is on its way, or there."""
        held = self._held(one, trial)
        return (held is not None and held["state"] == "sending") or bool(self._arrived(trial.email))

    def _held(self, one: Way, trial: Trial) -> dict[str, object] | None:
        """What a mail's process has of it; None while there is no such process."""
        try:
            answer = self._request(one.app, f"/held/{trial.email}")
        except Gone:
            return None
        return dict(json.loads(answer.text)) if answer.status == 200 else None

    def _arrived(self, email: str) -> list[float]:
        """When the mail server got the copies of a mail."""
        return [one.time for one in self._spool.received() if email in one.recipients]

    # -- asking a process --------------------------------------------------------------------------------

    def _pid(self, app: str) -> int:
        """The process of an app that answers; 0 while none does."""
        try:
            return int(json.loads(self._request(app, "/health").text)["pid"])
        except Gone:
            return 0

    def _request(self, app: str, path: str, form: dict[str, str] | None = None) -> Answer:
        """:raises Gone: there is no answer."""
        body = urllib.parse.urlencode(form) if form else None
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[app], timeout=PATIENCE)
        try:
            connection.request("POST" if form else "GET", path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise Gone(f"{app}.py does not answer: {error}") from None
        finally:
            connection.close()
        timing = response.headers["Server-Timing"].rpartition("=")[2]
        return Answer(response.status, text, float(timing) / 1000)


def judge(trial: Trial, held: dict[str, object] | None, arrived: Sequence[float]) -> Trial:
    """What became of a mail.

    :param held: what its process has of it; None while there is no such process.
    :param arrived: when the mail server got its copies.
    """
    if arrived:
        fate = "arrived" if len(arrived) == 1 else "arrived twice"
        trial = replace(trial, fate=fate, after=min(arrived) - trial.started)
    elif trial.over and trial.fate != "lost":
        return trial
    elif held is None:
        return replace(trial, fate="restarting")
    else:
        trial = replace(trial, fate=str(held["state"]) or "lost")
    if held is None:
        return trial
    return replace(trial, attempts=int(str(held["attempts"])), said=str(held["said"]))


def by_app(ways: Sequence[Way]) -> list[list[Way]]:
    apps = (*control.APPS, *control.CELERY_APPS)
    return [[one for one in ways if one.app == app] for app in apps]


def until(done: Callable[[], bool], trouble: str, pause: float = 0.02) -> None:
    """:raises TimeoutError: it did not come in time."""
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(trouble)
        time.sleep(pause)


def together(do: Callable[[Item], object], each: Sequence[Item]) -> None:
    """Do it with each at the same time."""
    with ThreadPoolExecutor(len(each) or 1) as pool:
        list(pool.map(do, each))
