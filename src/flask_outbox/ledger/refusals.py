"""What a database's refusals mean, and what a person can do about them."""

from __future__ import annotations

import sqlite3
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

#: By MySQL's code.
_MYSQL_CURES = {
    1153: ". Set the server's 'max_allowed_packet' to 64M or more: an attachment is stored by one statement.",
    1049: ". Create the database, then run 'flask mail init-db'.",
}


def explain(error: BaseException, path: Path | None) -> OutboxError:
    """The error to raise for one of the driver's, with the cure where there is one."""
    cure = _CURES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if path is None or cure is None:
        # PostgreSQL's details quote what was to be stored.
        said = getattr(getattr(error, "diag", None), "message_primary", None) or error
        code = error.args[0] if error.args else None
        if isinstance(code, int) and len(error.args) > 1:  # PyMySQL's
            said = f"{error.args[1]}{_MYSQL_CURES.get(code, '')}"
        return OutboxError(f"The outbox's database refused: {said}")
    return OutboxFileError(f"The outbox {path} cannot be used: {error}. {cure}")
