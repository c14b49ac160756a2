"""The outbox's SQLite file: where it may lie, how it is made, and the locks beside it.

Three locks, each a file of its own that is never removed, because removing one would let two processes hold two
files of the same name:

- ``…-init.lock``: held while the tables are made or checked.
- ``…-drainer.lock``: held by the one worker that drains the file.
- ``…-worker.lock``: held by ``flask mail worker``, also while it waits for the drainer's; a worker thread that
  finds it taken gives way.

All are POSIX record locks: the kernel frees them when their process dies, and a fork does not inherit them. Their
trap is that a process loses its lock when it closes *any* descriptor of the file, so within a process a table of
plain locks comes first and each file is opened by its holder alone. For the same reason nothing here ever opens
the database file once it exists: that would take SQLite's own locks away.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from ..errors import OutboxFileError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

#: Locks and shared memory do not work across the clients of these, and often not within one.
_NETWORK = {
    *(
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "davfs",
        "gfs",
        "gfs2",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
    ),
    *("ocfs2", "smb", "smb3", "smbfs"),
    *("fuse.gcsfuse", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
}

#: What is written here is gone when the container or the machine is.
_EPHEMERAL = {"overlay", "aufs", "tmpfs", "ramfs"}

#: Variables by which a platform can be told whose disk does not outlive the process.
_PLATFORMS = {
    "DYNO": "a Heroku dyno",
    "K_SERVICE": "Cloud Run",
    "AWS_LAMBDA_FUNCTION_NAME": "AWS Lambda",
    "FUNCTIONS_WORKER_RUNTIME": "Azure Functions",
    "VERCEL": "Vercel",
}


# -- where it lies ---------------------------------------------------------------------------------------------


def check_place(path: Path) -> None:
    """:raises OutboxFileError: it lies, or would lie, on a network filesystem."""
    kind = filesystem(path)
    if kind in _NETWORK or path.drive.startswith("\\\\"):
        raise OutboxFileError(
            f"The outbox {path} would lie on a network filesystem ({kind or 'UNC path'}), where SQLite loses data."
            " Set MAIL_OUTBOX_URL to a file on a local disk or to a database server."
        )


def prepare(path: Path) -> None:
    """Make the folder (0700) and the empty file (0600) where they are missing.

    :raises OutboxFileError: it cannot be made, or it would lie on a network filesystem.
    """
    check_place(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(path)
    except FileExistsError as error:
        if not path.is_file():
            raise OutboxFileError(
                f"The outbox {path} is not a file, or its folder is not a folder."
            ) from error
    except OSError as error:
        raise OutboxFileError(
            f"The outbox {path} cannot be made: {error.strerror}. Let the process's user write to its folder, or set"
            " MAIL_OUTBOX_URL to a file elsewhere."
        ) from error


def ephemeral(path: Path, environ: Mapping[str, str] = os.environ) -> str:
    """What to warn of when the file may not outlive the process that writes it, or "".

    :param environ: known platforms show themselves in it.
    """
    where = next((name for variable, name in _PLATFORMS.items() if variable in environ), "")
    if not where and (kind := filesystem(path)) in _EPHEMERAL:
        where = f"a filesystem of the type {kind}"
    if not where:
        return ""
    return (
        f"The outbox {path} lies on {where}: mail not yet sent is lost when the container or machine is replaced."
        " Set MAIL_OUTBOX_URL to a database server or a file on a volume, or MAIL_ENGINE='immediate'."
    )


def filesystem(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the filesystem that the path lies on, or "" where the system does not tell."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    place = Path(os.path.realpath(path))
    found, longest = "", -1
    for line in lines:
        # proc_pid_mountinfo(5): "36 35 98:0 /root /mount/point options [optional …] - type source options"
        fields, _, described = line.partition(" - ")
        point = Path(_unescape(fields.split(" ")[4]))
        # Of two mounts at one point the later one covers the other.
        if len(point.parts) >= longest and place.is_relative_to(point):
            found, longest = described.split(" ")[0], len(point.parts)
    return found


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _create(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _give(descriptor, path.parent)
    finally:
        os.close(descriptor)


def _give(descriptor: int, folder: Path) -> None:
    """What root makes belongs to the owner of the folder, who must be able to use it too."""
    if sys.platform != "win32" and os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


# -- locks -----------------------------------------------------------------------------------------------------

#: Which lock files this process holds; by process, because a fork leaves the parent's entries behind.
_held: dict[tuple[int, str], threading.Lock] = {}


class FileLock:
    """A lock between processes, and between its own instances in one process. For one thread at a time.

    :param path: of the lock file; it is made at the first use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._holder = 0
        self._descriptor = -1
        self._inside = threading.Lock()

    @property
    def held(self) -> bool:
        """Whether this instance holds it in this process; what a parent held its fork does not."""
        return self._holder == os.getpid()

    def acquire(self, *, blocking: bool = False) -> bool:
        """Take it.

        :param blocking: wait until it is free.
        :raises OutboxFileError: the lock file cannot be used.
        """
        if self.held:
            return True
        inside = self._gate()
        if not inside.acquire(blocking=blocking):
            return False
        try:
            descriptor = self._take(blocking)
        except BaseException:
            inside.release()
            raise
        if descriptor is None:
            inside.release()
            return False
        self._holder, self._descriptor, self._inside = os.getpid(), descriptor, inside
        return True

    def release(self) -> None:
        """Give it back, if it is held."""
        if self.held:
            self._holder = 0
            os.close(self._descriptor)
            self._inside.release()

    def taken(self) -> bool:
        """Whether anyone holds it."""
        inside = self._gate()
        if not inside.acquire(blocking=False):
            return True
        try:
            descriptor = self._take(blocking=False)
            if descriptor is None:
                return True
            os.close(descriptor)
            return False
        finally:
            inside.release()

    def _gate(self) -> threading.Lock:
        return _held.setdefault((os.getpid(), os.path.realpath(self.path)), threading.Lock())

    def _take(self, blocking: bool) -> int | None:
        """A descriptor that holds the lock, or None if another process does."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            _give(descriptor, self.path.parent)
            if _lock(descriptor, blocking):
                return descriptor
        except OSError as error:
            raise OutboxFileError(
                f"The lock file {self.path} cannot be used: {error.strerror}. It must belong to the user that the"
                " application and its worker run as."
            ) from error
        os.close(descriptor)
        return None


if sys.platform == "win32":

    def _lock(descriptor: int, blocking: bool) -> bool:
        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            except PermissionError:
                if not blocking:
                    return False
                time.sleep(0.02)  # LK_LOCK gives up after ten seconds
            else:
                return True

else:

    def _lock(descriptor: int, blocking: bool) -> bool:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, fcntl(2)
            return False
        return True


class DrainerLock:
    """The right to drain one SQLite file.

    :param outbox: the database file.
    :param external: for ``flask mail worker``, which takes precedence over the worker threads of the application.
    """

    def __init__(self, outbox: Path, external: bool) -> None:
        self._external = external
        self._drainer = FileLock(outbox.with_name(f"{outbox.name}-drainer.lock"))
        self._worker = FileLock(outbox.with_name(f"{outbox.name}-worker.lock"))

    @property
    def held(self) -> bool:
        return self._drainer.held

    def acquire(self) -> bool:
        """Become the drainer if no one is; asked again and again by those who stand by.

        An external worker keeps the other lock from its first call on, so that it is next.
        """
        if self._external:
            return self._worker.acquire() and self._drainer.acquire()
        # In this order only the drainer ever looks at the external worker's lock, for to look is to take it briefly.
        if not self._drainer.acquire():
            return False
        if self._worker.taken():
            self._drainer.release()
        return self._drainer.held

    def taken(self) -> bool:
        """Whether anyone drains the file."""
        return self._drainer.taken()

    def wanted(self) -> bool:
        """Whether an external worker waits while this is not one: time to give way."""
        return not self._external and self._worker.taken()

    def release(self) -> None:
        """Let another drain."""
        self._drainer.release()
        self._worker.release()
