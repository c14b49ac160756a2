"""What README and docs say is true: their code runs, their commands answer as printed, their names exist.

A page's blocks run in their order and share their names, beginning with the quickstart's ``app`` and ``mail``:

- ``python`` is run, and ``jinja`` with a caption is the template of that name;
- of ``console`` and ``sh`` the lines with ``flask mail`` are run, on the newest message where they name one. What a
  ``console`` block prints is compared, but for ids, times and spaces; ``…`` stands for anything;
- a comment ``<!-- shown only: why -->`` before a block keeps it from running;
- a comment ``<!-- run … -->`` holds code which the reader need not see: what calls a view, and what checks it.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

import pytest
from flask import Flask
from werkzeug.datastructures import ImmutableDict

import flask_outbox
from flask_outbox._cli import mail_cli
from flask_outbox._settings import SETTINGS
from servers.scripted import ScriptedServer

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_block = re.compile(
    r"(?:^<!-- shown only: (?P<why>[^\n]+?) -->\n+)?"
    r"(?:^```(?:\{code-block\} )?(?P<language>\w+)\n(?::caption: (?P<caption>[^\n]+)\n\n)?(?P<text>.*?)^```$"
    r"|^<!-- run\n(?P<hidden>.*?)^-->$)",
    re.DOTALL | re.MULTILINE,
)

#: What is different each time, and the word that stands for it in the comparison.
_VARYING = (
    (re.compile(r"\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "MOMENT"),
    (re.compile(r"\d+ (ms|s|min)\b"), "TIME"),
    (re.compile(r"\s+"), " "),
)

_QUICKSTART = """
from flask import Flask
from flask_outbox import Mail, Message
app = Flask(__name__)
app.config.from_prefixed_env()
mail = Mail(app)
"""


@dataclass(frozen=True)
class Block:
    """One block that is run.

    :param line: of the page, at which its text begins.
    :param caption: the name of a file, or "".
    """

    page: Path
    line: int
    language: str
    text: str
    caption: str = ""

    @property
    def code(self) -> CodeType:
        """Compiled so that a traceback shows the page's own line."""
        return compile("\n" * (self.line - 1) + self.text, str(self.page), "exec")


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in _block.finditer(text):
        if found["why"]:
            continue
        group = "text" if found["hidden"] is None else "hidden"
        line = text.count("\n", 0, found.start(group)) + 1
        language = found["language"] or "python"
        yield Block(page, line, language, found[group], found["caption"] or "")


class Reader:
    """Someone who does what a page says, in an empty folder, with a mail server.

    :param folder: where the application is.
    """

    def __init__(self, page: Path, folder: Path) -> None:
        self._module = ModuleType(f"page_{page.stem.replace('-', '_')}")
        self._module.__file__ = str(folder / "app.py")
        self._folder = folder
        sys.modules[self._module.__name__] = self._module
        exec(_QUICKSTART, vars(self._module))
        self._apps = [self._app]

    def follow(self, block: Block) -> None:
        if block.caption:
            path = self._folder / block.caption
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "python":
            exec(block.code, vars(self._module))
            self._apps.append(self._app)
        elif block.language == "console":
            self._compare(block)
        elif block.language == "sh":
            for command in re.findall(r"^flask mail .*", block.text, re.MULTILINE):
                self._run(command.partition("#")[0])

    def close(self) -> None:
        del sys.modules[self._module.__name__]
        for app in set(self._apps):
            app.extensions["flask_outbox"].close()

    @property
    def _app(self) -> Flask:
        app = vars(self._module)["app"]
        assert isinstance(app, Flask)
        return app

    def _compare(self, block: Block) -> None:
        for printed in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, wanted = printed.partition("\n")
            pattern = r"\s*.*\s*".join(map(re.escape, re.split(r"\s*…\s*", _steady(wanted))))
            answer = self._run(command)
            assert re.fullmatch(pattern, _steady(answer)), f"$ {command}\n{answer}"

    def _run(self, command: str) -> str:
        arguments = shlex.split(command)[2:]
        if any(_steady(word) == "ID" for word in arguments):
            with self._app.app_context():
                newest = vars(self._module)["mail"].messages(limit=1)[0].id
            arguments = [newest if _steady(word) == "ID" else word for word in arguments]
        result = self._app.test_cli_runner().invoke(mail_cli, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output


def _steady(text: str) -> str:
    """A command's output without what is different each time."""
    for varying, word in _VARYING:
        text = varying.sub(word, text)
    return text.strip()


@contextmanager
def _undone(folder: Path) -> Iterator[None]:
    """What the hidden code of a page does to this process is for that page: variables, path, modules, the log."""
    variables, path = dict(os.environ), list(sys.path)
    log = logging.getLogger()
    level, handlers = log.level, list(log.handlers)
    try:
        yield
    finally:
        log.setLevel(level)
        log.handlers[:] = handlers
        os.environ.clear()
        os.environ.update(variables)
        sys.path[:] = path
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]


def _marks(page: Path) -> list[pytest.MarkDecorator]:
    """The servers that the hidden code of a page starts."""
    return [
        pytest.mark.server(name) for name in ("redis",) if f"servers.{name}" in page.read_text()
    ]


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.name, marks=_marks(page)) for page in PAGES]
)
def test_every_block_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ScriptedServer() as server, _undone(tmp_path):
        monkeypatch.setenv("FLASK_MAIL_URL", f"smtp://127.0.0.1:{server.port}")
        monkeypatch.setenv("FLASK_MAIL_DEFAULT_SENDER", "app@example.org")
        # Nothing is sent but by `flask mail worker --once`, least of all to a server that a page has named.
        monkeypatch.setattr(
            Flask,
            "default_config",
            ImmutableDict({**Flask.default_config, "MAIL_WORKER": "external"}),
        )
        reader = Reader(page, tmp_path)
        try:
            for block in blocks(page):
                reader.follow(block)
        finally:
            reader.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_settings_that_exist(page: Path) -> None:
    known = {setting.key for setting in SETTINGS}
    assert set(re.findall(r"(?<!\w)(?:FLASK_)?(MAIL_[A-Z_]*[A-Z])", page.read_text())) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_commands_that_exist(page: Path) -> None:
    assert set(re.findall(r"flask mail ([a-z][a-z-]*)", page.read_text())) <= set(mail_cli.commands)


@pytest.mark.parametrize("page", ["celery", "rq", "dramatiq", "huey"])
def test_five_commands_lead_from_an_empty_folder_to_a_delivered_mail(page: str) -> None:
    (commands, *_) = re.findall(
        r"^```sh\n(.*?)^```$", (ROOT / f"docs/{page}.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert len(commands.splitlines()) <= 5
    assert commands.splitlines()[-1].startswith("curl ")


def test_every_public_name_is_in_the_reference() -> None:
    listed = re.findall(
        r"^.. auto\w+:: flask_outbox\.(\w+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE
    )
    assert sorted(listed) == sorted(flask_outbox.__all__)


def test_the_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_a_block_may_be_shown_only_with_a_reason() -> None:
    comments = [
        comment
        for page in PAGES
        for comment in re.findall(r"<!-- *(?:shown|run)[^\n]*", page.read_text())
    ]
    assert [c for c in comments if not re.match(r"<!-- (run$|shown only: \w.* -->)", c)] == []
