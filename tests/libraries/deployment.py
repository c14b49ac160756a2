"""A web application in a process of its own, the browser that uses it, and the mailbox its mail arrives in."""

from __future__ import annotations

import email.policy
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from http.cookiejar import CookieJar
from pathlib import Path

from servers.process import Process, free_port, wait_until
from servers.scripted import Message, ScriptedServer

HERE = Path(__file__).parent

_CSRF = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')
_LINK = re.compile(r"http://[^\s\"<>]+")


@dataclass(frozen=True, slots=True)
class Page:
    """What the browser shows."""

    path: str
    text: str

    @property
    def csrf(self) -> dict[str, str]:
        """The hidden field of the page's form."""
        found = _CSRF.search(self.text)
        return {"csrf_token": found[1]} if found else {}


class Browser:
    """Follows redirects and keeps cookies. An address is a path, or a link that came by mail."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        cookies = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(cookies)

    def get(self, address: str) -> Page:
        """Open a page."""
        return self._open(address, None)

    def submit(self, address: str, **fields: str) -> Page:
        """Open the page with a form, fill it in and send it."""
        return self.post(address, **self.get(address).csrf, **fields)

    def post(self, address: str, **fields: str) -> Page:
        """Send a form that is at hand."""
        return self._open(address, urllib.parse.urlencode(fields).encode())

    def _open(self, address: str, data: bytes | None) -> Page:
        url = urllib.parse.urljoin(self._origin, address)
        with self._opener.open(url, data, timeout=30) as answer:
            return Page(urllib.parse.urlsplit(answer.url).path, answer.read().decode())


class Deployment:
    """One application as gunicorn runs it, with a mail server of its own.

    :param env: the application's settings.
    """

    def __init__(self, origin: str, server: ScriptedServer, env: dict[str, str], log: Path) -> None:
        self.server = server
        self._origin = origin
        self._env = env
        self._log = log

    def browser(self) -> Browser:
        """A browser that nobody has used before."""
        return Browser(self._origin)

    def mail(self, address: str, number: int = 1) -> EmailMessage:
        """The mail of that number that came for an address, as soon as it is there."""
        wait_until(lambda: len(self._to(address)) >= number, f"mail {number} for {address}")
        content = self._to(address)[number - 1].content
        return message_from_bytes(content, policy=email.policy.default)

    def _to(self, address: str) -> list[Message]:
        return [message for message in self.server.messages if address in message.recipients]

    def worker(self) -> Process:
        """Start ``flask mail worker``."""
        command = [sys.executable, "-m", "flask", "mail", "worker"]
        return Process(command, log=self._log.with_name("worker.log"), env=self._env)


@contextmanager
def deploy(application: str, folder: Path, *options: str, **env: str) -> Iterator[Deployment]:
    """Run an application of this folder until the end of the block.

    :param application: the module with its ``create_app``.
    :param options: of gunicorn.
    :param env: more settings.
    """
    with ScriptedServer() as server:
        settings = environment(folder, server.port) | env
        settings["FLASK_APP"] = f"libraries.{application}:create_app"
        port, log = free_port(), folder / "gunicorn.log"
        # A worker that is told to end in the moment of its fork may not hear it.
        gunicorn = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--graceful-timeout=5"]
        command = [*gunicorn, *options, "--bind", f"127.0.0.1:{port}", f"{settings['FLASK_APP']}()"]
        with Process(command, log=log, ports=[port], env=settings):
            yield Deployment(f"http://127.0.0.1:{port}", server, settings, log)


def run_tests(file: str, folder: Path, **env: str) -> list[Message]:
    """Run a file of tests as a project of its own does; what it has really sent.

    :param env: more settings.
    """
    with ScriptedServer() as server:
        settings = environment(folder, server.port) | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | env
        options = ["-q", "-p", "no:cacheprovider", "--noconftest", "-c", os.devnull]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, "--rootdir", folder, HERE / file],
            env={**os.environ, **settings},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout
        return server.messages


def environment(folder: Path, smtp_port: int) -> dict[str, str]:
    """Settings that Flask-Mail and Flask-Outbox read alike, and what the second one adds."""
    return {
        "FLASK_MAIL_SERVER": "127.0.0.1",
        "FLASK_MAIL_PORT": str(smtp_port),
        "FLASK_MAIL_DEFAULT_SENDER": "app@example.org",
        "FLASK_MAIL_OUTBOX_URL": f"sqlite:///{folder / 'outbox' / 'outbox.sqlite'}",
        "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder / 'app.sqlite'}",
        "PYTHONPATH": str(HERE.parent),
        "PYTHONWARNINGS": "default",
    }


def link(mail: EmailMessage, kind: str = "plain") -> str:
    """The first link of a mail, in its text or its ``html`` part."""
    part = mail.get_body((kind,))
    assert part is not None, f"no {kind} part"
    found = _LINK.search(part.get_content())
    assert found is not None, part.get_content()
    return found[0]
