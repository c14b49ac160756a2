"""Where the file may lie, and the locks beside it, between real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flask_outbox.errors import OutboxFileError
from flask_outbox.ledger import file
from flask_outbox.ledger.file import DrainerLock, FileLock, ephemeral, filesystem, prepare

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw shared:5 - proc proc rw
24 22 0:30 / /srv/nfs rw,relatime - nfs4 server:/export rw
25 24 8:2 / /srv/nfs/local rw - xfs /dev/sdb1 rw
26 22 0:31 / /tmp rw - tmpfs tmpfs rw
27 22 0:32 / /over rw - ext4 /dev/sdc1 rw
28 27 0:33 / /over rw - overlay overlay rw
29 22 0:34 / /with\040space rw - fuse.sshfs host: rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS.lstrip())
    return table


# -- where it lies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/outbox.sqlite", "ext4"),
        ("/srv/nfs/app/outbox.sqlite", "nfs4"),
        ("/srv/nfsx/outbox.sqlite", "ext4"),
        ("/srv/nfs/local/outbox.sqlite", "xfs"),
        ("/over/outbox.sqlite", "overlay"),
        ("/with space/outbox.sqlite", "fuse.sshfs"),
    ],
)
def test_the_filesystem_of_a_path_is_that_of_the_nearest_mount(
    mounts: Path, path: str, kind: str
) -> None:
    assert filesystem(Path(path), mounts) == kind


def test_a_link_is_followed_to_where_the_file_really_lies(mounts: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/srv/nfs")
    assert filesystem(tmp_path / "link" / "outbox.sqlite", mounts) == "nfs4"


def test_where_the_system_does_not_tell_nothing_is_known(tmp_path: Path) -> None:
    assert filesystem(Path("/outbox.sqlite"), tmp_path / "missing") == ""


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "smb3", "9p", "fuse.sshfs"])
def test_a_network_filesystem_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(file, "filesystem", lambda path: kind)
    with pytest.raises(OutboxFileError, match=rf"network filesystem \({kind}\).*MAIL_OUTBOX_URL"):
        prepare(tmp_path / "folder" / "outbox.sqlite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["overlay", "tmpfs"])
def test_a_filesystem_that_does_not_last_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(file, "filesystem", lambda path: kind)
    warning = ephemeral(Path("/app/outbox.sqlite"), {})
    assert f"/app/outbox.sqlite lies on a filesystem of the type {kind}" in warning
    assert "MAIL_OUTBOX_URL" in warning
    assert "MAIL_ENGINE='immediate'" in warning


def test_a_platform_whose_disk_does_not_last_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "filesystem", lambda path: "ext4")
    assert "a Heroku dyno" in ephemeral(Path("/app/outbox.sqlite"), {"DYNO": "web.1"})
    assert ephemeral(Path("/app/outbox.sqlite"), {}) == ""


def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    path.write_bytes(b"content")
    path.chmod(0o660)
    prepare(path)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"content", 0o660)


def test_a_file_where_the_folder_belongs_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    with pytest.raises(OutboxFileError, match="its folder is not a folder"):
        prepare(tmp_path / "folder" / "outbox.sqlite")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 65_534, 65_534)
    prepare(tmp_path / "outbox.sqlite")
    lock = FileLock(tmp_path / "outbox.sqlite-init.lock")
    lock.acquire()
    lock.release()
    assert {made.stat().st_uid for made in tmp_path.iterdir()} == {65_534}


# -- locks -----------------------------------------------------------------------------------------------------


@contextmanager
def holding(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs the code with ``path`` and then lives until it is killed."""
    head = "import os, sys\nfrom pathlib import Path\nfrom flask_outbox.ledger.file import *\n"
    head += "path = Path(sys.argv[1])\n"
    tail = "\nprint('holds', flush=True)\nsys.stdin.read()\n"
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", head + code + tail, str(path)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "holds\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_lock_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    with holding("lock = FileLock(path)\nassert lock.acquire()", lock.path) as process:
        assert not lock.acquire()
        assert lock.taken()
        process.kill()
        process.wait()
        assert not lock.taken()
        assert lock.acquire()
        assert lock.held
    lock.release()


def test_a_lock_is_held_by_one_instance_of_a_process(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "." / "lock")
    assert first.acquire()
    assert first.acquire(), "again"
    assert not second.acquire()
    assert second.taken()
    first.release()
    assert (first.held, second.acquire()) == (False, True)
    second.release()


def test_another_instances_try_does_not_free_the_lock(tmp_path: Path) -> None:
    # Closing any descriptor of the file would, fcntl(2).
    lock = FileLock(tmp_path / "lock")
    lock.acquire()
    FileLock(tmp_path / "lock").acquire()
    FileLock(tmp_path / "lock").taken()
    with holding("assert not FileLock(path).acquire()", lock.path):
        assert lock.held
    lock.release()


def test_releasing_what_is_not_held_is_nothing(tmp_path: Path) -> None:
    held = FileLock(tmp_path / "lock")
    held.acquire()
    FileLock(tmp_path / "lock").release()
    assert held.taken()
    held.release()


def test_who_waits_for_a_lock_gets_it_from_another_process(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    waiting = threading.Thread(target=lock.acquire, kwargs={"blocking": True})
    with holding("lock = FileLock(path)\nassert lock.acquire()", lock.path) as process:
        waiting.start()
        process.kill()
        waiting.join()
    assert lock.held
    lock.release()


def test_who_waits_for_a_lock_gets_it_from_another_instance(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    first.acquire()
    waiting = threading.Thread(target=second.acquire, kwargs={"blocking": True})
    waiting.start()
    first.release()
    waiting.join()
    assert second.held
    second.release()


def test_a_fork_does_not_inherit_a_lock(tmp_path: Path) -> None:
    code = """
lock = FileLock(path)
assert lock.acquire()
pid = os.fork()
if pid == 0:
    assert not lock.held
    assert not lock.acquire(), "the parent holds it"
    lock.release()
    assert FileLock(path).taken()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert lock.held
"""
    with holding(code, tmp_path / "lock"):
        assert FileLock(tmp_path / "lock").taken()


def test_a_lock_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutboxFileError, match="missing/lock cannot be used"):
        FileLock(tmp_path / "missing" / "lock").acquire()


# -- the drainer -----------------------------------------------------------------------------------------------


def drainers(outbox: Path) -> tuple[DrainerLock, DrainerLock, DrainerLock]:
    """Two threads of an application, and ``flask mail worker``."""
    return DrainerLock(outbox, False), DrainerLock(outbox, False), DrainerLock(outbox, True)


def test_one_worker_drains_and_the_others_stand_by(tmp_path: Path) -> None:
    one, other, _ = drainers(tmp_path / "outbox.sqlite")
    assert one.acquire()
    assert (one.held, other.acquire(), other.held) == (True, False, False)
    one.release()
    assert other.acquire()
    other.release()


def test_a_thread_gives_way_to_an_external_worker(tmp_path: Path) -> None:
    thread, standby, external = drainers(tmp_path / "outbox.sqlite")
    thread.acquire()
    assert not thread.wanted()
    assert not external.acquire()
    assert thread.wanted()
    thread.release()
    assert not standby.acquire(), "the external worker is next"
    assert not standby.held
    assert external.acquire()
    assert not external.wanted()
    external.release()
    assert standby.acquire()
    standby.release()


def test_a_second_external_worker_stands_by(tmp_path: Path) -> None:
    first, second = (DrainerLock(tmp_path / "outbox.sqlite", True) for _ in range(2))
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_a_killed_external_worker_leaves_the_outbox_to_the_threads(tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.sqlite"
    thread = DrainerLock(outbox, False)
    with holding("lock = DrainerLock(path, True)\nassert lock.acquire()", outbox) as process:
        assert not thread.acquire()
        process.kill()
        process.wait()
        assert thread.acquire()
    thread.release()
