"""A process that lets others work: each post is filled by a child, and filled again when the child dies.

Between the two is a socket. The child writes a line about itself every few seconds, and is killed when it writes none
for too long; the parent writes nothing, but when it is gone the child sees the end of the socket, finishes and ends.
A child has a process group of its own, so that Ctrl-C reaches the parent alone, which asks each child once.

A reload starts a second generation beside the first one. Only when each of it works is the first one asked to end; if
one of it dies, it is the second one that goes. POSIX only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

logger = logging.getLogger("flask_outbox")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for what; in seconds.

    :param start: for a child's first line.
    :param silence: between two lines, and for the end of a child that has closed its socket.
    :param settled: after which a death is no failure to start any more, and the post is filled again at once.
    :param first: before a post is filled again whose child has failed to start; doubled each time.
    :param longest: what that grows to.
    """

    start: float = 60.0
    silence: float = 30.0
    settled: float = 10.0
    first: float = 1.0
    longest: float = 60.0

    def delay(self, failures: int) -> float:
        """Before a post is filled again, after so many failures to start in a row."""
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 30)) if failures else 0.0


class Post:
    """A place that one child after another fills.

    :param command: gets the number of the socket's descriptor as its last word.
    :param told: called at each line of a child.
    """

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        patience: Patience,
        told: Callable[[], object],
    ) -> None:
        self._command = command
        self._environ = environ
        self._patience = patience
        self._told = told
        self._process: Process | None = None
        self._leaving = asyncio.Event()
        #: Set by the first line of a child, and by the first death of one.
        self.up, self.fell = asyncio.Event(), asyncio.Event()
        #: What the child said last, and when a child did, by ``time.monotonic``; at first when the post was made.
        self.said, self.heard = b"", time.monotonic()
        self.keeping = asyncio.create_task(self._keep())

    @property
    def pid(self) -> int:
        """Of the child; 0 if there is none."""
        return 0 if self._process is None else self._process.pid

    def leave(self) -> None:
        """Ask the child to end, and fill the post no more."""
        self._leaving.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the child."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            try:
                self._process.send_signal(number)
            except ProcessLookupError:
                return  # it has ended, and its exit is about to be seen

    async def _keep(self) -> None:
        failures = 0
        while not self._leaving.is_set():
            began = time.monotonic()
            how = await self._live()
            if self._leaving.is_set():
                break
            self.fell.set()
            failures = failures + 1 if time.monotonic() - began < self._patience.settled else 0
            delay = self._patience.delay(failures)
            logger.error("a worker process %s; the next one starts in %g s", how, delay)
            await _within(self._leaving, delay)

    async def _live(self) -> str:
        """The life of one child; how it ended."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    str(theirs.fileno()),
                    stdin=DEVNULL,
                    env=self._environ,
                    pass_fds=[theirs.fileno()],
                    process_group=0,
                )
        except OSError as error:
            ours.close()
            return f"could not be started: {error}"
        self._process, self.said = process, b""
        if self._leaving.is_set():  # meanwhile
            self._signal(signal.SIGTERM)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            await self._listen(reader, process)
        except TimeoutError:
            logger.error("worker process %d gives no sign of life and is killed", process.pid)
            self.kill()
            await process.wait()
        finally:
            writer.close()
            self._process = None
        return f"({process.pid}) {_ended(process.returncode)}"

    async def _listen(self, reader: asyncio.StreamReader, process: Process) -> None:
        """:raises TimeoutError: it says nothing, or does not end."""
        limit = self._patience.start
        while True:
            async with asyncio.timeout(limit):
                line = await reader.readline()
            if not line.endswith(b"\n"):
                break
            self.said, self.heard = line, time.monotonic()
            self.up.set()
            self._told()
            limit = self._patience.silence
        async with asyncio.timeout(self._patience.silence):
            await process.wait()


class Supervisor:
    """Keeps so many posts filled. Made and run inside one event loop, once; uvloop's starts no such children."""

    def __init__(
        self,
        command: Sequence[str],
        posts: int,
        environ: Mapping[str, str] = os.environ,
        patience: Patience = Patience(),
    ) -> None:
        self._command = command
        self._number = posts
        self._environ = environ
        self._patience = patience
        self._everyone: set[Post] = set()
        self._reloading = asyncio.Lock()
        self._stopping = asyncio.Event()
        #: Those whose children do the work.
        self.posts: Sequence[Post] = []
        #: Set when each of a generation has been up.
        self.began = asyncio.Event()
        #: Set whenever a child has said something since; cleared by who looks.
        self.changed = asyncio.Event()

    async def run(self) -> None:
        """Fill the posts until told to stop; return when the last child has ended."""
        self.posts = self._staff()
        if await self._works(self.posts, patiently=True):
            self._begin()
        await self._stopping.wait()
        await asyncio.gather(*(post.keeping for post in self._everyone))

    def stop(self) -> None:
        """Ask all children to finish and end."""
        self._stopping.set()
        for post in self._everyone:
            post.leave()

    def kill(self) -> None:
        """Kill all children."""
        for post in self._everyone:
            post.kill()

    async def reload(self) -> None:
        """Let a new generation take over; where one of it fails, the former one goes on."""
        async with self._reloading:
            await self._replace(self._staff())

    async def _replace(self, new: Sequence[Post]) -> None:
        if await self._works(new, patiently=False):
            leaving, self.posts = self.posts, new
            self._begin()
            logger.info("%d new worker processes have taken over", len(new))
        else:
            leaving = new
            logger.error("the new worker processes did not start; the former ones go on")
        for post in leaving:
            post.leave()
        await asyncio.gather(*(post.keeping for post in leaving))
        self._everyone.difference_update(leaving)

    def _staff(self) -> Sequence[Post]:
        posts = [
            Post(self._command, self._environ, self._patience, self._heard)
            for _ in range(0 if self._stopping.is_set() else self._number)
        ]
        self._everyone.update(posts)
        for post in posts:
            post.keeping.add_done_callback(self._left)
        return posts

    def _begin(self) -> None:
        self.began.set()
        self.changed.set()

    def _heard(self) -> None:
        if self.began.is_set():
            self.changed.set()

    def _left(self, keeping: asyncio.Task[None]) -> None:
        # A post that is given up because of a fault of ours is not missed in silence.
        if not keeping.cancelled() and keeping.exception() is not None:
            self.stop()

    async def _works(self, posts: Sequence[Post], *, patiently: bool) -> bool:
        """Wait until each post is up.

        :param patiently: whether a child may fall before.
        """
        for post in posts:
            hopes = [post.up, self._stopping, *([] if patiently else [post.fell])]
            await _any(hopes)
            if not post.up.is_set():
                return False
        return not self._stopping.is_set()


async def _any(events: Sequence[asyncio.Event]) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with {code}"
