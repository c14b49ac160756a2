"""``flask mail worker``: one process that drains, or one that lets others do so."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from flask.cli import with_appcontext

from ._terminal import outbox, plainly

if TYPE_CHECKING:
    from ._wiring import Wiring
    from .delivery.orders import Orders
    from .delivery.supervisor import Post
    from .delivery.worker import Worker
    from .ledger.store import Store
    from .telemetry.health import Health
    from .telemetry.rounds import Examiner, Look
    from .telemetry.systemd import Systemd

T = TypeVar("T")

#: Seconds that ``--once`` waits for the application's worker thread to give way.
_PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class Watching:
    """Who is shown how the worker fares.

    :param file: renewed every few seconds.
    :param bind: the address of the health page; its port is None if there is none.
    """

    file: Path | None
    bind: str
    port: int | None

    def __bool__(self) -> bool:
        return self.file is not None or self.port is not None


@click.command("worker")
@click.option("--once", is_flag=True, help="Drain what is due, then exit (for cron).")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Start N processes that work, and a new one for each that dies.",
)
@click.option(
    "--health-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="Renew this file every 5 seconds while all is well.",
)
@click.option(
    "--health-port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Answer GET /healthz on this port: 200 while all is well, else 503.",
)
@click.option(
    "--health-bind",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="The address of that port.",
)
@click.option("--post", type=int, hidden=True)  # the end of a socket that a supervisor holds
@with_appcontext
@plainly
def worker_command(
    once: bool,
    processes: int | None,
    health_file: Path | None,
    health_port: int | None,
    health_bind: str,
    post: int | None,
) -> None:
    """Deliver the mail of the outbox until SIGTERM or Ctrl-C; then finish what is being sent and exit.

    A second SIGTERM or Ctrl-C exits at once. SIGHUP finishes likewise, then starts again with new code and settings.
    """
    wiring, store = outbox()
    watching = Watching(health_file, health_bind, health_port)
    if once and (watching or processes):
        raise click.UsageError(
            "--once works and ends: it takes neither --processes nor --health-…."
        )
    if processes and sys.platform == "win32":
        raise click.UsageError("--processes needs a system with POSIX signals.")
    store.check_schema()
    log_to_terminal()
    if post is not None:
        run_loop(_at_post(wiring, store, post))
        return
    if once:
        run_loop(_drain(wiring))
    elif processes is None:
        orders = run_loop(_work(wiring, store, watching))
        if orders.renewed:
            from .delivery.orders import begin_anew

            begin_anew(orders)
    else:
        _warn_of_one_file(store, processes)
        wiring.close()
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(_supervise(processes, watching))
    click.echo("The mail worker has ended.")


def run_loop(work: Coroutine[object, object, T]) -> T:
    from .delivery.loop import new_loop

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(work)


def log_to_terminal() -> None:
    """The worker's log goes to the terminal unless the application has set up logging of its own."""
    logger = logging.getLogger("flask_outbox")
    if not logger.hasHandlers():
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
        logger.setLevel(logging.INFO)


# -- one process -----------------------------------------------------------------------------------------------


async def _drain(wiring: Wiring) -> None:
    """Drain what is due."""
    from .delivery.orders import Orders

    courier, worker = wiring.make_worker()
    worker.finish(_PATIENCE)
    click.echo("Draining what is due.")
    try:
        with Orders(worker.stop, None):
            await worker.run()
    finally:
        await courier.aclose()
    if not (worker.drained or worker.ending):
        raise click.ClickException("Another worker drains this outbox and did not give way.")


async def _work(wiring: Wiring, store: Store, watching: Watching) -> Orders:
    """Drain until told otherwise; what it was told."""
    from .delivery.orders import Orders
    from .telemetry.systemd import Systemd

    courier, worker = wiring.make_worker()
    systemd = Systemd(os.environ, os.getpid())

    def end() -> None:
        _tell_of_the_end(systemd)
        worker.stop()

    def again() -> None:
        systemd.reload()
        worker.stop()

    examiner = _examiner(worker, store)
    try:
        with Orders(end, again) as orders:
            click.echo("The mail worker runs; Ctrl-C ends it.")
            async with AsyncExitStack() as stack:
                sinks = await _sinks(stack, examiner.look, watching, systemd, orders)
                await stack.enter_async_context(
                    _rounds(examiner.examine, sinks, worker.changed, systemd.interval)
                )
                await worker.run()
    finally:
        await courier.aclose()
    return orders


def _tell_of_the_end(systemd: Systemd) -> None:
    click.echo("Finishing what is being sent; a second signal ends it at once.")
    systemd.stop()


def _examiner(worker: Worker, store: Store) -> Examiner:
    from .ledger.reports import Reports
    from .telemetry.rounds import Examiner

    return Examiner(worker, Reports(store).brief)


async def _sinks(
    stack: AsyncExitStack, look: Look, watching: Watching, systemd: Systemd, orders: Orders
) -> Sequence[Callable[[Health], object]]:
    """Whoever is to be shown how the worker fares; the health page is opened, and asks by itself.

    :param stack: what it closes at the end. The health file stays if the next beginning follows at once.
    """
    from .telemetry.health import STARTING, Health, HealthFile
    from .telemetry.health_page import health_page

    sinks: list[Callable[[Health], object]] = [systemd.see] if systemd.asks else []
    what = str(watching.file)
    try:
        if watching.file is not None:
            file = HealthFile(watching.file, Health(STARTING, os.getpid(), time.time(), 0.0))
            stack.callback(lambda: None if orders.renewed else file.close())
            sinks.append(file.see)
        if watching.port is not None:
            what = f"{watching.bind}:{watching.port}"
            await stack.enter_async_context(health_page(look, watching.bind, watching.port))
    except OSError as error:
        raise click.ClickException(f"{what}: {error.strerror}") from error
    return sinks


@asynccontextmanager
async def _rounds(
    look: Look,
    sinks: Sequence[Callable[[Health], object]],
    changed: asyncio.Event,
    interval: float | None = None,
) -> AsyncIterator[None]:
    """Look every few seconds while the context is open, if there is anyone to show it to."""
    from .telemetry.rounds import PULSE, rounds

    seconds = min(PULSE, interval or PULSE)
    going = asyncio.create_task(rounds(look, sinks, changed, seconds)) if sinks else None
    yield
    if going is not None:
        going.cancel()
        with suppress(asyncio.CancelledError):
            await going


# -- several processes -----------------------------------------------------------------------------------------


def _warn_of_one_file(store: Store, processes: int) -> None:
    if store.path is not None and processes > 1:
        click.echo(
            f"Warning: the outbox {store.path} is an SQLite file, which one process drains at a time. Of {processes}"
            f" processes {processes - 1} stand by; they make nothing faster, one takes over when the first dies.",
            err=True,
        )


async def _supervise(processes: int, watching: Watching) -> None:
    """Let others drain until told to end."""
    from .delivery.orders import Orders, die_by, first_environment
    from .delivery.supervisor import Supervisor
    from .telemetry.health import STARTING, Health, of_all
    from .telemetry.systemd import VARIABLES, Systemd

    environ = {name: value for name, value in first_environment().items() if name not in VARIABLES}
    supervisor = Supervisor([sys.executable, *sys.orig_argv[1:], "--post"], processes, environ)
    systemd = Systemd(os.environ, os.getpid())
    reloads: set[asyncio.Task[None]] = set()

    async def look() -> Health:
        now = time.time()
        fares = [_of(post) for post in supervisor.posts]
        return of_all(fares or [Health(STARTING, 0, now, 0.0)], os.getpid(), now)

    def end() -> None:
        _tell_of_the_end(systemd)
        supervisor.stop()

    def now(number: int) -> None:
        supervisor.kill()
        die_by(number)

    async def reload() -> None:
        systemd.reload()
        await supervisor.reload()
        systemd.reloaded()

    def again() -> None:
        reloads.add(task := asyncio.create_task(reload()))
        task.add_done_callback(reloads.discard)

    with Orders(end, again, now) as orders:
        click.echo(f"{processes} worker process(es) run; Ctrl-C ends them.")
        async with AsyncExitStack() as stack:
            sinks = await _sinks(stack, look, watching, systemd, orders)
            await stack.enter_async_context(
                _rounds(look, sinks, supervisor.changed, systemd.interval)
            )
            await supervisor.run()


def _of(post: Post) -> Health:
    """How the child at a post fares, by its last words; before its first ones it starts, since the last one's."""
    from .telemetry.health import STARTING, Health

    age = time.monotonic() - post.heard
    if post.said and post.pid:
        return Health.from_json(post.said, age=age)
    return Health(STARTING, post.pid, time.time(), age)


async def _at_post(wiring: Wiring, store: Store, descriptor: int) -> None:
    """Drain for a supervisor, until told to end or until it is gone."""
    from .delivery.orders import Orders

    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)  # or a program that the application starts would keep it open
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    courier, worker = wiring.make_worker()

    def report(health: Health) -> None:
        if health.alive and not writer.is_closing():
            writer.write(f"{health.to_json()}\n".encode())

    async def outlive() -> None:
        with suppress(
            ConnectionError
        ):  # so it ends where the supervisor has not heard our last words
            await reader.read()
        worker.stop()

    outliving = asyncio.create_task(outlive())
    try:
        # Whoever ends a group of processes tells each, and then so does the supervisor.
        with Orders(worker.stop, None, now=None):
            async with _rounds(_examiner(worker, store).examine, [report], worker.changed):
                await worker.run()
    finally:
        outliving.cancel()
        await courier.aclose()
        writer.close()
