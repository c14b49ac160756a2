"""What is well and what is not about the place where the outbox lies."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from ..errors import OutboxError, OutboxFileError
from ..rules.findings import Finding, failed, ok, warning
from .engine import Database
from .file import check_place, ephemeral, filesystem
from .server_checkup import examine_server
from .tables import VERSION

#: Bytes free on a disk: too few for the log to grow into, and few.
_NO_SPACE, _LITTLE_SPACE = 64 * 2**20, 512 * 2**20

#: Bytes of a file that are still read as a whole, which takes seconds.
_READ = 2 * 2**30

#: What lies beside the file.
_BESIDE = ("-wal", "-shm", "-init.lock", "-drainer.lock", "-worker.lock")


def examine(database: Database, max_size: int) -> Iterator[Finding]:
    """Look at an outbox. One that is not there is not made.

    When a finding of the outbox itself failed, nothing of it can be read.

    :param max_size: bytes of the largest message that is to be stored.
    """
    path = database.path
    if path is not None:
        yield from _disk(path)
        if not os.path.lexists(path):
            yield _missing(path)
            return
        yield from _rights(path)
    try:
        yield _contents(database)
        if path is None:
            yield from examine_server(database, max_size)
    except OutboxError as error:
        yield failed("outbox", str(error))


def exists(database: Database) -> bool:
    """Whether there is an outbox to read; one on a server may be."""
    return database.path is None or os.path.lexists(database.path)


def _disk(path: Path) -> Iterator[Finding]:
    try:
        check_place(path)
    except OutboxFileError as error:
        yield failed("disk", str(error))
        return
    if text := ephemeral(path):
        yield warning("disk", text)
    free = shutil.disk_usage(_nearest(path)).free
    text = f"{free / 2**20:,.0f} MB are free on the {filesystem(path) or 'local'} disk of {path}."
    if free < _NO_SPACE:
        yield failed("disk", text, "Free space on it: sends fail when it is full.")
    elif free < _LITTLE_SPACE:
        yield warning("disk", text, "Free space on it: sends fail when it is full.")
    else:
        yield ok("disk", text)


def _missing(path: Path) -> Finding:
    folder = _nearest(path)
    if folder.is_dir() and _may(folder, os.W_OK | os.X_OK):
        return ok("outbox", f"{path} is not there yet; the first send makes it.")
    return failed(
        "outbox",
        f"{path} cannot be made: {_user()} may not write to {folder}.",
        "Let the process's user write to its folder, or set MAIL_OUTBOX_URL to a file elsewhere.",
    )


def _rights(path: Path) -> Iterator[Finding]:
    """Who may do what with the files; each that is wrong, or one line that none is."""
    found = [*_closed(path), *_open_to_all(path)]
    yield from found or [
        ok("rights", f"{_user()} may read and write {path}; it is {_owner(path)}'s.")
    ]


def _closed(path: Path) -> Iterator[Finding]:
    """What this user, or the owner of the outbox, may not use."""
    if not _may(path.parent, os.W_OK | os.X_OK):
        yield failed(
            "rights",
            f"{_user()} may not write to the folder {path.parent}, where SQLite keeps its log.",
            f"Let the process's user write to it: chown or chmod {path.parent}.",
        )
    for file in [path, *(path.with_name(path.name + end) for end in _BESIDE)]:
        if not file.exists():
            continue
        cure = f"Run 'chown {_owner(path)} {file}', and run 'flask' as the application's user."
        if not _may(file, os.R_OK | os.W_OK):
            yield failed("rights", f"{file} is {_owner(file)}'s; {_user()} may not use it.", cure)
        elif _owner(file) != _owner(path):
            yield warning(
                "rights", f"{file} is {_owner(file)}'s, the outbox {_owner(path)}'s.", cure
            )


def _open_to_all(path: Path) -> Iterator[Finding]:
    if os.name == "nt":
        return
    if path.stat().st_mode & stat.S_IRWXO:
        yield warning("rights", f"Every user may open {path}, with all mail.", f"chmod o= {path}")
    if path.parent.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
        text = f"Every user may replace files in {path.parent}."
        yield warning("rights", text, f"chmod o-w {path.parent}")


def _contents(database: Database) -> Finding:
    """:raises OutboxError: it cannot be used."""
    database.check_schema()
    if database.path is None:
        return ok("outbox", f"{database.name} answers; its tables are of version {VERSION}.")
    size = database.path.stat().st_size
    with database.snapshot() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        sound = "ok"
        if size <= _READ:
            sound = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if sound != "ok":
        text = f"{database.name} is damaged: {sound}."
        return failed(
            "outbox", text, "Restore a copy; 'sqlite3 FILE .recover' may save what it holds."
        )
    if mode != "wal":
        text = (
            f"{database.name} has the journal mode {mode}: readers and writers wait for each other."
        )
        return warning("outbox", text, "Put it on a local disk.")
    read = "sound" if size <= _READ else "not read as a whole, for its size"
    return ok(
        "outbox",
        f"{size / 2**20:,.1f} MB, {read}; its tables are of version {VERSION}, SQLite is"
        f" {sqlite3.sqlite_version}, with a write-ahead log.",
    )


# -- users and files -------------------------------------------------------------------------------------------


def _nearest(path: Path) -> Path:
    """The first that is there of the file's folder and those above it."""
    return next(folder for folder in path.parents if os.path.lexists(folder))


def _may(path: Path, mode: int) -> bool:
    if os.access in os.supports_effective_ids:
        return os.access(path, mode, effective_ids=True)
    return os.access(path, mode)


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, NotImplementedError):
        return str(path.stat().st_uid)


def _user() -> str:
    if os.name == "nt":
        return "this user"
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"the user {os.geteuid()}"
