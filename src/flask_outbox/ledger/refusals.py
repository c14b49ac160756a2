"""What a database's refusals mean, and what a person can do about them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from ..errors import OutboxError, OutboxFileError
from .opened import BUSY

_WRITABLE = "Let the process's user read and write the file and its folder."

#: By SQLite's primary result code (https://sqlite.org/rescode.html): what a person can do.
_CURES = {
    sqlite3.SQLITE_PERM: _WRITABLE,
    sqlite3.SQLITE_READONLY: _WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _WRITABLE,
    sqlite3.SQLITE_BUSY: f"Another process kept it locked for {BUSY} seconds: look for one that hangs, or a backup.",
    sqlite3.SQLITE_IOERR: "Look for a failing or full disk.",
    sqlite3.SQLITE_FULL: "Free space on its disk.",
    sqlite3.SQLITE_CORRUPT: "Move the file away and restore a copy; 'sqlite3 FILE .recover' may save what it holds.",
    sqlite3.SQLITE_NOTADB: "Move the file away, a new one is made; or let MAIL_OUTBOX_URL name another.",
}

_FULL = ". Free space on the disk of its server."

_TAKEN = (
    ". Let the server allow more connections ('max_connections'), or start fewer processes: each opens one for each of"
    " its threads that send at the same time, 15 at most, and a worker two."
)

#: By the code of what a server says: MySQL's number, or PostgreSQL's SQLSTATE.
_SERVER_CURES: Mapping[object, str] = {
    1021: _FULL,
    1034: ". Run ALTER TABLE … FORCE for it, which makes its indexes anew: a disk that was full can leave them so.",
    1040: _TAKEN,
    1049: ". Create the database, then run 'flask mail init-db'.",
    1114: _FULL,
    1153: ". Set the server's 'max_allowed_packet' to 64M or more: an attachment is stored by one statement.",
    "53100": _FULL,
    "53300": _TAKEN,
}

#: PostgreSQL's words for 53300: who is not let in is told no code.
_NOT_LET_IN = ("too many clients", "connection slots are reserved", "too many connections for")


def explain(error: BaseException, path: Path | None) -> OutboxError:
    """The error to raise for one of the driver's, with the cure where there is one."""
    cure = _CURES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if path is None or cure is None:
        # PostgreSQL's details quote what was to be stored.
        said = getattr(getattr(error, "diag", None), "message_primary", None) or str(error).strip()
        code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if error.args and isinstance(error.args[0], int) and len(error.args) > 1:  # PyMySQL's
            code, said = error.args[:2]
        if code is None and any(words in said for words in _NOT_LET_IN):
            code = "53300"
        return OutboxError(f"The outbox's database refused: {said}{_SERVER_CURES.get(code, '')}")
    return OutboxFileError(f"The outbox {path} cannot be used: {error}. {cure}")


def all_in_use(connections: int, seconds: float) -> OutboxError:
    """What to raise where a thread waited in vain for a connection of its own process."""
    return OutboxError(
        f"All {connections} connections of this process to the outbox's database were in use for {seconds:g} seconds:"
        " look for what keeps the database busy, a lock or a full disk; or let fewer threads send at the same time."
    )
