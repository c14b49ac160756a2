"""Start the demo: a mail server, the worker, the web app and the two apps that it compares, each a process.

Ctrl-C or SIGTERM stops them all; on Linux they also end when this process is killed. Nothing is
started again by itself but what the page can kill: the worker after ten seconds, the compared apps
at once. Redis and the two apps on Celery, each with a worker, start when the page first needs them.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import fcntl
import http.client
import json
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, NoReturn

from control import (
    APPS,
    CELERY,
    CELERY_APPS,
    PIPE,
    PORTS,
    Condition,
    Order,
    Worker,
    celery_is_here,
    worker_of,
)
from spool import Spool

HERE = Path(__file__).parent
FLASK = (sys.executable, "-m", "flask", "--app")
APP = (*FLASK, str(HERE / "app.py"))
RUN = ("run", "--no-reload", "--no-debugger", "--port")
CELERY_WORKER = ("worker", "--concurrency", "1", "--without-mingle", "--loglevel", "warning")
START_SECONDS = 30
STOP_SECONDS = 5
RESTART_SECONDS = 10
PR_SET_PDEATHSIG = 1

#: What is printed once everything runs.
GREETING = """
  Flask-Outbox demo

    {url}

  web app      flask run          pid {webapp}
  worker       flask mail worker  pid {worker}
  mail server  127.0.0.1:{smtp:<9}  pid {mailserver}; keeps what it receives, nothing leaves this machine
  compared     before.py          pid {before}
               after.py           pid {after}
  celery       {celery}
  logs         {logs}

  Send a mail from the form. Make the mail server slow and send another. Kill the worker, send 20.
  Then see {ways} ways to send a mail side by side, while the server is slow or down, or their process is killed.
  Ctrl-C stops everything.
"""


class Failed(Exception):
    """The demo cannot go on; the text is for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process that was started, and where it writes what it has to say."""

    name: str
    process: Process
    log: Path

    @property
    def over(self) -> bool:
        return self.process.returncode is not None

    def last_words(self) -> str:
        """What is wrong with it, as far as it said so."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        wrong = (
            f"ended by itself (exit code {self.process.returncode})"
            if self.over
            else "does not work"
        )
        head = f"The {self.name} {wrong}. The end of {self.log}:"
        return "\n".join([head, *(f"    {line}" for line in lines)])


class Demo:
    """The processes."""

    def __init__(self, folder: Path, port: int | None, *, celery: bool) -> None:
        self._folder = folder
        self._logs = folder / "logs"
        self._spool = Spool(folder / "mailserver")
        self._port = first_free(range(5000, 5020) if port is None else range(port, port + 1))
        self._celery = celery and celery_is_here()
        apps = (*APPS, *CELERY_APPS) if self._celery else APPS
        self._ports = {name: first_free(range(1)) for name in apps}
        self._broker_port = first_free(range(1))
        self._children: dict[str, Child] = {}
        self._start_asked = {"worker": asyncio.Event(), CELERY: asyncio.Event()}
        self._orders, self._pipe = os.pipe()

    async def run(self) -> None:
        """Start everything, say so, and stay until one of the servers ends.

        :raises Failed: something did not start, or ended.
        """
        try:
            await self._start()
            self._greet()
            await self._watch()
        finally:
            await self._stop()

    async def _start(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._spool.forget_port()
        script = (sys.executable, str(HERE / "mailserver.py"), "--dir", str(self._spool.folder))
        server = await self._spawn("mail server", *script)
        await until(server, lambda: self._spool.port() is not None)
        await self._start_worker()
        command = (*APP, *RUN, str(self._port))
        await self._spawn("web app", *command, pass_fds=(self._pipe,))
        await until(self._children["web app"], lambda: self._health() is not None)
        await until(self._children["worker"], self._worker_is_at_work)
        for name in APPS:
            await self._start_compared(name)

    async def _start_worker(self) -> None:
        worker = await self._spawn("worker", *APP, "mail", "worker")
        Worker(worker.process.pid, Condition.RUNNING, time.time()).write(self._folder)

    async def _start_compared(self, name: str) -> Child:
        command = (*FLASK, str(HERE / f"{name}.py"), *RUN, str(self._ports[name]))
        return await self._spawn(name, *command)

    async def _start_broker(self) -> Child:
        folder = self._folder / "broker"
        folder.mkdir(exist_ok=True)
        place = ("--bind", "127.0.0.1", "--port", str(self._broker_port), "--dir", str(folder))
        kept = ("--appendonly", "yes", "--appendfsync", "always")
        broker = await self._spawn("broker", "redis-server", *place, *kept)
        await until(broker, lambda: listens(self._broker_port))
        return broker

    async def _start_celery_worker(self, app: str) -> Child:
        celery = (sys.executable, "-m", "celery", "--workdir", str(HERE))
        return await self._spawn(worker_of(app), *celery, "--app", f"{app}:celery", *CELERY_WORKER)

    async def _spawn(self, name: str, *command: str, pass_fds: tuple[int, ...] = ()) -> Child:
        path = self._logs / f"{name.replace(' ', '-')}.log"
        variables = {"DEMO_DIR": str(self._folder), "PYTHONUNBUFFERED": "1"}
        variables["DEMO_BROKER_PORT"] = str(self._broker_port)
        if pass_fds:
            variables |= {PIPE: str(pass_fds[0]), PORTS: json.dumps(self._ports)}
        with path.open("ab" if name in self._children else "wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | variables,
                pass_fds=pass_fds,
                process_group=0,  # Ctrl-C reaches this process alone, which then stops the others
                preexec_fn=die_with(os.getpid()),
            )
        child = self._children[name] = Child(name, process, path)
        return child

    def _health(self) -> list[int] | None:
        """The pids of the workers the web app knows of; None while it does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/health")
            response = connection.getresponse()
            answer = response.read()
        except OSError:
            return None
        finally:
            connection.close()
        if response.status != 200:
            ended = [child for child in self._children.values() if child.over]
            raise Failed((ended or [self._children["web app"]])[0].last_words())
        return list(json.loads(answer)["workers"])

    def _worker_is_at_work(self) -> bool:
        return self._children["worker"].process.pid in (self._health() or [])

    def _greet(self) -> None:
        pids = {name.replace(" ", ""): c.process.pid for name, c in self._children.items()}
        celery = "Redis, two apps and two workers start when the page needs them"
        if not self._celery:
            celery = "left out, or its Redis is not here: apt-get install redis-server"
        print(
            GREETING.format(
                url=f"http://127.0.0.1:{self._port}/",
                smtp=self._spool.port(),
                celery=celery,
                ways="eight" if self._celery else "six",
                logs=self._logs,
                **pids,
            ),
            flush=True,
        )

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._orders, self._obey)
        servers = (self._children["mail server"], self._children["web app"])
        tasks = [asyncio.create_task(end(child)) for child in servers]
        tasks.append(asyncio.create_task(self._keep_worker()))
        for name in APPS:
            kept = self._keep(self._children[name], partial(self._start_compared, name))
            tasks.append(asyncio.create_task(kept))
        if self._celery:
            tasks.append(asyncio.create_task(self._keep_celery()))
        try:
            await asyncio.gather(*tasks)
        finally:
            loop.remove_reader(self._orders)
            for task in tasks:
                task.cancel()

    def _obey(self) -> None:
        for line in os.read(self._orders, 4096).decode().splitlines():
            order, whom = line.split()
            if order == Order.START:
                self._start_asked[whom].set()
                continue
            for name in (whom, worker_of(whom)):
                if name in self._children and not self._children[name].over:
                    # With what it has started: each has a process group of its own.
                    os.killpg(self._children[name].process.pid, signal.SIGKILL)

    async def _keep_worker(self) -> NoReturn:
        """Start the worker again: after a while where it was killed, when asked to in any case."""
        while True:
            worker = self._children["worker"]
            killed = await worker.process.wait() == -signal.SIGKILL
            now, pid = time.time(), worker.process.pid
            self._start_asked["worker"].clear()
            if killed:
                say(f"The worker ({pid}) was killed. It starts again in {RESTART_SECONDS} s.")
                Worker(pid, Condition.KILLED, now, now + RESTART_SECONDS).write(self._folder)
            else:
                say(worker.last_words())
                Worker(pid, Condition.FAILED, now).write(self._folder)
            with suppress(TimeoutError):
                async with asyncio.timeout(RESTART_SECONDS if killed else None):
                    await self._start_asked["worker"].wait()
            await self._start_worker()
            say(f"The worker runs again ({self._children['worker'].process.pid}).")

    async def _keep(self, child: Child, start: Callable[[], Awaitable[Child]]) -> NoReturn:
        """Start what is compared again as soon as it was killed, as a supervisor does.

        :raises Failed: it ended by itself.
        """
        while await child.process.wait() == -signal.SIGKILL:
            child = await start()
        raise Failed(child.last_words())

    async def _keep_celery(self) -> None:
        """Start Redis and what is on it when the page asks for it, and look after that.

        :raises Failed: some of it ended by itself.
        """
        await self._start_asked[CELERY].wait()
        broker = await self._start_broker()
        kept = []
        for app in CELERY_APPS:
            for kind in (self._start_compared, self._start_celery_worker):
                start = partial(kind, app)
                kept.append(self._keep(await start(), start))
        await asyncio.gather(end(broker), *kept)

    async def _stop(self) -> None:
        """End the children politely; at once where they take too long, or at a second Ctrl-C."""
        running = [child for child in self._children.values() if not child.over]
        for child in running:
            child.process.terminate()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await asyncio.gather(*(child.process.wait() for child in running))
        finally:
            for child in running:
                if not child.over:
                    child.process.kill()
                    say(f"The {child.name} had to be killed.")
            await asyncio.gather(*(child.process.wait() for child in running))


async def until(child: Child, ready: Callable[[], bool]) -> None:
    """Wait until a child that was just started does its work.

    :raises Failed: it ended instead, or took too long.
    """
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if child.over:
            raise Failed(child.last_words())
        if time.monotonic() > deadline:
            raise Failed(f"The {child.name} was not ready after {START_SECONDS} s; see {child.log}")
        await asyncio.sleep(0.05)


async def end(child: Child) -> NoReturn:
    """Wait for what must not happen: that a server ends.

    :raises Failed: it did.
    """
    await child.process.wait()
    raise Failed(child.last_words())


def die_with(parent: int) -> Callable[[], None] | None:
    """What a new child does first so that it does not outlive its parent; Linux only."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we had asked
            os._exit(1)

    return prepare


def first_free(ports: range) -> int:
    """The first port that nobody listens on."""
    for port in ports:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                sock.bind(("127.0.0.1", port))
                return int(sock.getsockname()[1])
    taken = " to ".join(dict.fromkeys((str(ports[0]), str(ports[-1]))))
    raise Failed(f"Taken by other programs: port {taken}. Choose one with --port.")


def listens(port: int) -> bool:
    """Whether anybody does on a port."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def lock(folder: Path) -> IO[str]:
    """Hold the folder for this process; the kernel lets go of it when the process ends."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (folder / "up.lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Failed(f"The demo is already running in {folder}.") from None
    return file


async def main(folder: Path, port: int | None, *, celery: bool) -> None:
    task = asyncio.ensure_future(Demo(folder, port, celery=celery).run())
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Start the Flask-Outbox demo.")
    parser.add_argument("--port", type=int, help="of the web app; 5000 or the next free one")
    parser.add_argument("--dir", type=Path, default=HERE / "instance", help="where it keeps things")
    parser.add_argument(
        "--no-celery", action="store_true", help="compare it not, although it is here"
    )
    arguments = parser.parse_args()
    try:
        with lock(folder := arguments.dir.resolve()):
            asyncio.run(main(folder, arguments.port, celery=not arguments.no_celery))
    except Failed as failure:
        sys.exit(str(failure))
