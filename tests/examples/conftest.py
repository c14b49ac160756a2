"""A demo that runs, and its page in a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from servers.process import DEADLINE, wait_until

UP = Path(__file__).parents[2] / "examples" / "demo" / "up.py"

expect.set_options(timeout=DEADLINE * 1000)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Gives the redirect itself."""

    def redirect_request(self, *args: object) -> None:
        return None


@dataclass(frozen=True)
class Demo:
    """A demo that runs."""

    process: subprocess.Popen[str]
    url: str
    folder: Path

    def ask(
        self, path: str, form: dict[str, str] | None = None, **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        """Status, text and headers of a request; with a form it is a POST."""
        request = urllib.request.Request(
            self.url + path,
            urllib.parse.urlencode(form).encode() if form is not None else None,
            {name.replace("_", "-"): value for name, value in headers.items()},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)
        try:
            answer: HTTPResponse | urllib.error.HTTPError = opener.open(request, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status or 0, answer.read().decode(), dict(answer.headers)

    def children(self) -> list[int]:
        """The pids that it names at its start."""
        return [int(pid) for pid in re.findall(r"pid (\d+)", (self.folder / "said").read_text())]


@contextmanager
def up(folder: Path, *options: str) -> Iterator[Demo]:
    """A demo; Celery, which takes a server and six processes more, is one test's alone."""
    said = folder / "said"
    with said.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(UP), "--dir", str(folder / "demo"), "--port", "0", *options],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        wait_until(
            lambda: process.poll() is not None or "Ctrl-C" in said.read_text(), "start of the demo"
        )
        assert process.poll() is None, said.read_text()
        found = re.search(r"http://127\.0\.0\.1:\d+/", said.read_text())
        assert found is not None
        yield Demo(process, found[0], folder)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One demo for most tests; after them SIGTERM ends it politely, and nothing of it is left."""
    with up(tmp_path_factory.mktemp("demo"), "--no-celery") as running:
        yield running
    assert running.process.returncode == 0
    assert [pid for pid in running.children() if runs(pid)] == []


def runs(pid: int) -> bool:
    """Whether a process lives; one that is only waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def page(chromium: Browser, demo: Demo) -> Iterator[Page]:
    """The first page, on which nothing may be reported to the console; the mail server is well."""
    assert demo.ask("mail-server", {"mode": "ok"})[0] == 303
    said: list[str] = []

    def keep(message: ConsoleMessage) -> None:
        said.append(message.text)

    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.on("console", keep)
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(demo.url)
    yield opened
    context.close()
    assert said == []
