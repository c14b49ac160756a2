"""A fork in the middle of something that another thread does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

#: The thread is in the middle of reading the settings, where it has something to log.
_WHILE_SETTINGS_ARE_READ = """
import logging, os, signal, threading
from flask import Flask
from flask_outbox import Mail

reached, go_on = threading.Event(), threading.Event()

class Holding(logging.Handler):
    def emit(self, record):
        reached.set()
        go_on.wait(20)

log = logging.getLogger("flask_outbox")
log.addHandler(Holding())
app = Flask("app")
mail = Mail(app)
app.config["MAIL_OUTBOX_URI"] = "a misspelt key, which is logged"
app.config["MAIL_TIMEOUT"] = 7
thread = threading.Thread(target=mail.init_app, args=(app,))
thread.start()
reached.wait(20)
child = os.fork()
if not child:
    signal.alarm(20)
    log.handlers.clear()
    mail.init_app(app)
    Mail(Flask("other"))
    os._exit(0)
go_on.set()
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_forked_while_a_thread_reads_the_settings_can_read_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WHILE_SETTINGS_ARE_READ],
        cwd=tmp_path,
        env={**os.environ, "FLASK_MAIL_DEFAULT_SENDER": "app@example.org"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0\n"
