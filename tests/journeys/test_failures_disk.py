"""A disk or a file that the outbox cannot use: the error names the cure, and what was accepted is kept."""

from __future__ import annotations

import functools
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from flask_outbox import Mail, Message
from flask_outbox._cli import mail_cli
from flask_outbox.errors import OutboxFileError
from flask_outbox.ledger import file
from journeys.accounting import AccountingServer
from journeys.conftest import Deployment
from servers.process import wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits, users and locks")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that every user may go through, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o700)


def send(app: Flask) -> str:
    with app.app_context():
        mail = app.extensions["mail"]
        id: str = mail.send(Message("Hello", recipients=["a@example.org"], body="x")).id
        return id


def doctor(app: Flask) -> str:
    return app.test_cli_runner().invoke(mail_cli, ["doctor"]).output


def at(app: Flask, path: Path) -> Flask:
    app.config.update(MAIL_OUTBOX_URL=f"sqlite:///{path}", MAIL_SERVER=None)
    Mail(app)
    return app


# -- full ------------------------------------------------------------------------------------------------------

#: No file may grow beyond its size; the system refuses as it does where a disk is full.
FULL = """
import resource
from flask_outbox.errors import OutboxFileError
with app.app_context():
    stored = [send_one(number) for number in range(3)]
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most))
    try:
        for number in range(3, 100): stored.append(send_one(number))
    except OutboxFileError as error:
        assert "full disk" in str(error), error
    else:
        raise AssertionError("the disk was never full")
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    stored.append(send_one(100))
    assert sorted(view.id for view in mail.messages(limit=200)) == sorted(stored)
"""


def test_a_send_on_a_full_disk_raises_with_the_cure_and_goes_on_when_there_is_space(
    deployment: Deployment,
) -> None:
    done = deployment.run(FULL)
    assert done.returncode == 0, done.stderr


def test_results_wait_while_the_disk_is_full_and_nothing_is_sent_twice(
    server: AccountingServer, deployment: Deployment
) -> None:
    deployment.fill(20)

    def fill_disk(count: int) -> None:
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (20_000, most))

    server.on_content = fill_disk
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    with deployment.worker() as worker:
        wait_until(lambda: "results wait" in worker.log.read_text(), "a refused result")
        assert "full disk" in worker.log.read_text()
        server.on_content = lambda count: None
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (most, most))
        wait_until(lambda: counts(deployment) == {"sent": 20}, "20 results")
    assert (len(server.copies), server.duplicates) == (20, 0)


def counts(deployment: Deployment) -> dict[str, int]:
    with closing(sqlite3.connect(deployment.outbox)) as connection:
        return dict(connection.execute("SELECT state, count(*) FROM mail_delivery GROUP BY state"))


# -- not allowed -----------------------------------------------------------------------------------------------

#: Sends, as nobody where it is root who runs the tests.
AS_NOBODY = """
import os
from flask_outbox.errors import OutboxFileError
if os.geteuid() == 0: os.seteuid(65_534)
with app.app_context():
    try:
        send_one(1)
    except OutboxFileError as error:
        print(error)
"""


@pytest.mark.parametrize("worker", ["thread", "external"])
def test_a_folder_that_may_not_be_written_is_said_once_and_without_a_traceback(
    deployment: Deployment, open_folder: Path, worker: str
) -> None:
    open_folder.chmod(0o555)
    url = f"sqlite:///{open_folder}/outbox.sqlite"
    code = AS_NOBODY + "app.extensions['flask_outbox'].wiring.process.ensure_worker()\n"
    done = deployment.run(code, FLASK_MAIL_OUTBOX_URL=url, FLASK_MAIL_WORKER=worker)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert "Let the process's user write to its folder" in done.stdout


def test_a_file_of_another_user_is_an_error_that_names_it(
    deployment: Deployment, open_folder: Path
) -> None:
    path = open_folder / "outbox.sqlite"
    path.touch()
    path.chmod(0)
    open_folder.chmod(0o777)
    done = deployment.run(AS_NOBODY, FLASK_MAIL_OUTBOX_URL=f"sqlite:///{path}")
    assert done.returncode == 0, done.stderr
    assert f"{path} cannot be used" in done.stdout
    assert "Let the process's user read and write the file" in done.stdout


def test_a_missing_instance_folder_is_made_for_its_owner_alone(app: Flask) -> None:
    Mail(app)
    send(app)
    folder = Path(app.instance_path)
    assert (folder.stat().st_mode & 0o777, (folder / "outbox.sqlite").is_file()) == (0o700, True)
    app.extensions["flask_outbox"].close()


# -- not an outbox ---------------------------------------------------------------------------------------------


def cut_short(path: Path) -> None:
    """As after a copy that was broken off."""
    app = Flask("other")
    app.config.update(MAIL_DEFAULT_SENDER="app@example.org", MAIL_WORKER="external")
    send(at(app, path))
    app.extensions["flask_outbox"].close()
    path.write_bytes(path.read_bytes()[:50_000])


def of_another_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE customer (id)")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(b"no database" * 1_000), "Move the file away"),
        (cut_short, "restore a copy"),
        (of_another_application, "the database of another application, with the table 'customer'"),
    ],
    ids=["garbage", "cut short", "of another application"],
)
def test_a_file_that_is_no_outbox_is_left_as_it_is_and_the_cure_is_said(
    app: Flask, tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    path = tmp_path / "outbox.sqlite"
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(OutboxFileError, match=said):
        send(at(app, path))
    assert said in doctor(app)
    assert path.read_bytes() == before
    app.extensions["flask_outbox"].close()


def test_an_empty_file_becomes_the_outbox(app: Flask, tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    path.touch(mode=0o600)
    send(at(app, path))
    assert path.read_bytes().startswith(b"SQLite format 3")
    app.extensions["flask_outbox"].close()


def test_once_the_bad_file_is_moved_away_a_worker_that_waited_goes_on(
    server: AccountingServer, deployment: Deployment
) -> None:
    deployment.outbox.parent.mkdir()
    deployment.outbox.write_bytes(b"no database" * 1_000)
    code = (
        "import os, sys, time\n"
        "process = app.extensions['flask_outbox'].wiring.process\n"
        "process.ensure_worker()\n"
        "while not os.path.exists('moved'): time.sleep(0.01)\n"
        "with app.app_context(): send_one(1)\n"
    )
    env = {**os.environ, **deployment.env, "FLASK_MAIL_WORKER": "thread"}
    head = "from journeys.application import create_app, send_one\napp = create_app()\n"
    running = subprocess.Popen(
        [sys.executable, "-c", head + code],
        cwd=deployment.folder,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    )
    with running:
        assert running.stderr is not None
        assert "Move the file away" in running.stderr.readline()
        deployment.outbox.rename(deployment.folder / "bad")
        (deployment.folder / "moved").touch()
        assert "left in the outbox" not in running.stderr.read()
    assert (running.returncode, len(server.copies)) == (0, 1)


# -- where it lies ---------------------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Says, in the place of the kernel, of what type the disk of the test is."""
    table = tmp_path / "mountinfo"
    told = functools.partial(file.filesystem, mounts=table)
    monkeypatch.setattr(file, "filesystem", told)

    def mounted(kind: str) -> None:
        table.write_text(
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
            f"24 22 0:30 / {tmp_path} rw,relatime shared:1 - {kind} source rw\n"
        )

    return mounted


def test_on_a_network_filesystem_nothing_is_made_and_the_error_says_where_to_go(
    app: Flask, tmp_path: Path, mounted: Callable[[str], None]
) -> None:
    mounted("nfs4")
    with pytest.raises(OutboxFileError, match=r"network filesystem.*MAIL_OUTBOX_URL"):
        send(at(app, tmp_path / "folder" / "outbox.sqlite"))
    assert not (tmp_path / "folder").exists()
    assert "FAILED   disk: The outbox" in doctor(app)
    app.extensions["flask_outbox"].close()


def test_on_a_disk_that_does_not_last_one_warning_is_logged(
    app: Flask,
    tmp_path: Path,
    mounted: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    mounted("overlay")
    send(at(app, tmp_path / "outbox.sqlite"))
    send(app)
    assert caplog.text.count("mail not yet sent is lost when the container or machine") == 1
    levels = json.loads(app.test_cli_runner().invoke(mail_cli, ["doctor", "--json"]).output)[
        "findings"
    ]
    assert next(one["level"] for one in levels if "overlay" in one["text"]) == "warning"
    app.extensions["flask_outbox"].close()
