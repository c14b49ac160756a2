"""Build the wheel and run the README's quickstart with it: no source tree, no extras, the lowest versions.

The environment in .venvs/wheel holds the wheel and requirements/minimum.txt, nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pythons import QUIET, ROOT, install, prepare

_SETTINGS = {
    "FLASK_MAIL_URL": "smtp://127.0.0.1:1",
    "FLASK_MAIL_DEFAULT_SENDER": "me@example.org",
    "FLASK_MAIL_WORKER": "external",
}

_TRY = """
import importlib, pkgutil, subprocess, sys
from pathlib import Path

import flask_outbox

home = Path(flask_outbox.__file__).parent
assert "site-packages" in home.parts, home
assert (home / "py.typed").exists()
for module in pkgutil.walk_packages([str(home)], "flask_outbox."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as missing:  # an engine needs what it is named after
        assert module.name == f"flask_outbox.engines.{missing.name}", module.name

sys.path.insert(0, ".")
from quickstart import app

answer = app.test_client().post("/signup", data={"email": "you@example.org"})
assert answer.text == "Check your inbox.", answer.text
flask = [Path(sys.executable).with_name("flask"), "--app", "quickstart", "mail", "list"]
shown = subprocess.run(flask, check=True, stdout=subprocess.PIPE, text=True).stdout
assert "you@example.org" in shown, shown
"""


def build(folder: Path) -> Path:
    """The wheel, freshly built."""
    command = [sys.executable, "-m", "pip", "wheel", *QUIET]
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--wheel-dir", str(folder)]
    subprocess.run([*command, *options, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def quickstart() -> str:
    """The first Python of the README."""
    return (ROOT / "README.md").read_text().partition("```python\n")[2].partition("```")[0]


def main() -> int:
    """Build, install, send."""
    inside = prepare(ROOT / ".venvs/wheel", sys.executable, ROOT / "requirements/minimum.txt")
    with tempfile.TemporaryDirectory() as name:
        install(inside, "--no-deps", "--no-index", "--force-reinstall", build(Path(name)))
        Path(name, "quickstart.py").write_text(quickstart())
        # -I would ignore the environment as well; the folder is new, so nothing of ours is in reach.
        command = [str(inside), "-P", "-s", "-W", "error", "-c", _TRY]
        return subprocess.run(command, cwd=name, env={**os.environ, **_SETTINGS}).returncode


if __name__ == "__main__":
    sys.exit(main())
