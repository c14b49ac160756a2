"""Programs that do something and end: scripts, cron jobs, the application's own commands, shells."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from ways.runner import Runner

#: The letters of each script; their numbers do not matter.
COUNT = 5

_SEND = """
import os, signal, sys
from ways.application import create_app, letter, mail, send_both
app = globals().get("app") or create_app()

def send(count):
    with app.app_context():
        for number in range(count):
            print("sent", mail.send(letter(number)).id, flush=True)
"""

_WAIT = """
import time
while app.extensions["flask_outbox"].reports().left():
    time.sleep(0.01)
print("arrived", flush=True)
"""

_FORK = """
pid = os.fork()
if not pid:
    send_both(app, 1)
    raise SystemExit
print("ended", os.waitpid(pid, 0)[1], flush=True)
"""


class Script(Runner):
    """Runs a script to its end, each time in a process of its own.

    The way's command starts it; ``{script}`` is the script's file, and where there is none, standard input says to
    run it.
    """

    def sends(self) -> None:
        """Its letters arrive while it runs."""
        done = self.run(f"send({COUNT})" + _WAIT)
        assert "arrived" in done.stdout, done
        self.wait_for_all()

    def drains(self) -> None:
        """It ends when its letters have arrived."""
        repeated = self.server.duplicates
        done = self.run(f"send({COUNT})")
        assert done.returncode == 0, done
        assert "left in the outbox" not in done.stderr, done
        assert self.sent <= self.arrived()
        self.check_written_down(repeated)

    def survives(self) -> None:
        """Killed right after its sends, it leaves them to the next one."""
        done = self.run(f"send({COUNT})\nos.kill(os.getpid(), signal.SIGKILL)")
        assert done.returncode == -signal.SIGKILL, done
        self.run("send(1)")
        self.wait_for_all()

    def restarts(self) -> None:
        """After a fork both sides send, each at once and by its outbox."""
        before, repeated = len(self.server.copies), self.server.duplicates
        done = self.run("send(1)" + _FORK + "send(1)")
        assert done.returncode == 0, done
        assert "ended 0" in done.stdout, done
        self.server.wait_for(before + 4)
        self.check_written_down(repeated)

    def run(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run a script; the ids that it says it has sent are noted."""
        script = self.folder / "script.py"
        script.write_text(_SEND + code)
        words = self.way.command.format(script=script).split()
        program = Path(sys.executable).with_name(words[0])
        done = subprocess.run(
            [program, *words[1:]],
            input=None
            if str(script) in words
            else f"exec(open({str(script)!r}).read(), globals())\n",
            env={**os.environ, **self.env},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.note_sent(done.stdout)
        return done

    def note_sent(self, output: str) -> None:
        """Take over the ids that a program has printed."""
        self.sent |= set(re.findall(r"^(?:>>> )*sent (\w+)$", output, re.MULTILINE))


_CHILD = """
import os, signal, sys
import multiprocessing
from ways.application import create_app, letter, mail, send_both

def send(count):
    app = create_app()
    with app.app_context():
        for number in range(count):
            print("sent", mail.send(letter(number)).id, flush=True)

def send_after(count):
    app = create_app()
    send_both(app, count)

def send_and_die(count):
    send(count)
    os.kill(os.getpid(), signal.SIGKILL)

def run(function, *arguments):
    child = multiprocessing.get_context(sys.argv[1]).Process(target=function, args=arguments)
    child.start()
    child.join(30)
    print("ended", child.exitcode, flush=True)

if __name__ == "__main__":
"""


class Multiprocessing(Script):
    """Sends in a process that ``multiprocessing`` starts, in the way that the command's last word says."""

    def sends(self) -> None:
        """What a child sends arrives, although its parent sends nothing."""
        self.program(f"run(send, {COUNT})")
        self.wait_for_all()

    def drains(self) -> None:
        """A child ends when its letters have arrived."""
        repeated = self.server.duplicates
        self.program(f"run(send, {COUNT})")
        assert self.sent <= self.arrived()
        self.check_written_down(repeated)

    def survives(self) -> None:
        """What a killed child has sent arrives by the next one."""
        done = self.program(f"run(send_and_die, {COUNT})")
        assert f"ended -{int(signal.SIGKILL)}" in done.stdout, done
        self.program("run(send, 1)")
        self.wait_for_all()

    def restarts(self) -> None:
        """A child sends after its parent has, and has its loop, worker and file open."""
        before, repeated = len(self.server.copies), self.server.duplicates
        done = self.program("send_after(1)\n    run(send_after, 3)")
        assert "ended 0" in done.stdout, done
        self.server.wait_for(before + 4)
        self.check_written_down(repeated)

    def program(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run a program with this as its main part."""
        program = self.folder / "program.py"
        program.write_text(f"{_CHILD}    {code}\n")
        done = subprocess.run(
            [sys.executable, program, self.way.command],
            env={**os.environ, **self.env},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done
        self.note_sent(done.stdout)
        return done


_INTERPRETER = """
import sys
import time
try:
    import _interpreters as interpreters
    made = interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as interpreters
    made = interpreters.create(isolated=False)
said = interpreters.run_string(made, SCRIPT)
if said:
    sys.exit(str(said))
for _ in range(1000):
    try:
        interpreters.destroy(made)
    except RuntimeError:
        time.sleep(0.01)  # the last of its threads is about to end
    else:
        print("destroyed")
        break
"""

#: As mod_wsgi does it before it ends an interpreter.
_EXIT = """
import atexit
atexit._run_exitfuncs()
"""


class Subinterpreter(Script):
    """Runs an application in an interpreter beside the main one, as mod_wsgi does."""

    def sends(self) -> None:
        """Its letters arrive while the interpreter lives."""
        done = self.interpret(f"send({COUNT})" + _WAIT)
        assert "arrived" in done.stdout, done
        self.wait_for_all()

    def drains(self) -> None:
        """When its exit functions have run, its letters have arrived and its threads have ended."""
        repeated = self.server.duplicates
        self.interpret(f"send({COUNT})")
        assert self.sent <= self.arrived()
        self.check_written_down(repeated)

    def interpret(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run a script in an interpreter of its own, and end that."""
        program = self.folder / "program.py"
        program.write_text(f"SCRIPT = {_SEND + code + _EXIT!r}\n{_INTERPRETER}")
        done = subprocess.run(
            [sys.executable, program],
            env={**os.environ, **self.env},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done
        assert "destroyed" in done.stdout, done
        self.note_sent(done.stdout)
        return done


_SUITE = f"""
import os
from pathlib import Path
import pytest
from ways.application import create_app, letter, mail

@pytest.fixture
def app():
    return create_app()

@pytest.mark.parametrize("number", range({COUNT}))
def test_recorded(app, number):
    with app.app_context(), mail.record_messages() as outbox:
        Path(os.environ["SENT"], mail.send(letter(number)).id).touch()
        assert [message.subject for message in outbox] == [f"Number {{number}}"]

@pytest.mark.parametrize("number", range({COUNT}))
def test_stored(app, number):
    with app.app_context():
        receipt = mail.send(letter(number))
        assert receipt.durable
        Path(os.environ["SENT"], receipt.id).touch()
"""


class Xdist(Script):
    """A test suite of a user's, run by two processes at once, with one outbox."""

    def sends(self) -> None:
        """What the tests send is recorded by each of them, and arrives."""
        self.run_suite()
        assert len(self.sent) == 2 * COUNT
        self.wait_for_all()

    def drains(self) -> None:
        """When the run ends, all letters have arrived, each once."""
        repeated = self.server.duplicates
        self.run_suite()
        assert self.sent <= self.arrived()
        self.check_written_down(repeated)

    def run_suite(self) -> None:
        """Run it, for both claims once."""
        notes = self.folder / "sent"
        if notes.exists():
            return
        notes.mkdir()
        (self.folder / "test_mail.py").write_text(_SUITE)
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, self.folder],
            env={**os.environ, **self.env, "SENT": str(notes)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done
        self.sent |= {note.name for note in notes.iterdir()}
