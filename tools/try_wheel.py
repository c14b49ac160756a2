"""Build the wheel and send a first mail with it: without the source tree, without extras, on the lowest versions.

The environment in .venvs/wheel holds the wheel and requirements/minimum.txt, nothing else.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from pythons import QUIET, ROOT, install, prepare

_FIRST_MAIL = """
import importlib, pkgutil
from pathlib import Path

import flask_outbox
from flask import Flask
from flask_outbox import Mail, Message

assert "site-packages" in flask_outbox.__file__, flask_outbox.__file__
assert Path(flask_outbox.__file__).with_name("py.typed").exists()
for module in pkgutil.walk_packages(flask_outbox.__path__, "flask_outbox."):
    importlib.import_module(module.name)

app = Flask(__name__, instance_path=str(Path.cwd() / "instance"))
app.config.update(MAIL_URL="smtp://127.0.0.1:1", MAIL_DEFAULT_SENDER="me@example.org", MAIL_WORKER="external")
mail = Mail(app)

@app.post("/signup")
def signup():
    mail.send(Message("Welcome", recipients=["you@example.org"], body="Hello"))
    return "Check your inbox."

assert app.test_client().post("/signup").text == "Check your inbox."
answer = app.test_cli_runner().invoke(args=["mail", "list"])
assert answer.exit_code == 0 and "you@example.org" in answer.output, answer.output
"""


def build(folder: Path) -> Path:
    """The wheel, freshly built."""
    command = [sys.executable, "-m", "pip", "wheel", *QUIET]
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--wheel-dir", str(folder)]
    subprocess.run([*command, *options, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def main() -> int:
    """Build, install, send."""
    inside = prepare(ROOT / ".venvs/wheel", sys.executable, ROOT / "requirements/minimum.txt")
    with tempfile.TemporaryDirectory() as name:
        install(inside, "--no-deps", "--no-index", "--force-reinstall", build(Path(name)))
        command = [str(inside), "-I", "-W", "error", "-c", _FIRST_MAIL]
        return subprocess.run(command, cwd=name).returncode


if __name__ == "__main__":
    sys.exit(main())
