"""MySQL's and MariaDB's bound on a statement, ``max_allowed_packet``.

Whoever exceeds it is cut off, mostly without a word, and in a transaction of the application's with all that it has
changed. So a letter is measured before anything of it is stored. What is read may be larger.
"""

from __future__ import annotations

from ..errors import OutboxError
from .driver import Line

#: Bytes of a letter below which nothing is asked: no server is set to take less.
SMALL = 500_000

#: Bytes of a statement besides its largest value.
_AROUND = 1_000


def allowed(line: Line) -> int:
    """Bytes that a statement may have."""
    ((most,),) = line.exec_driver_sql("SELECT @@max_allowed_packet", ())
    return int(most)


def statement(size: int) -> int:
    """How many bytes the statement may have that stores so many: drivers write two characters for one of them."""
    return 2 * size + _AROUND


def enough_for(size: int) -> str:
    """What to set, so that any message of that size can be stored."""
    return f"{max(64, 1 << (statement(size) // 2**20).bit_length())}M"


def check(line: Line, size: int) -> None:
    """See that so many bytes can be stored by one statement.

    :raises OutboxError: they cannot.
    """
    if size > SMALL and statement(size) > (most := allowed(line)):
        needed, enough = statement(size), enough_for(size)
        raise OutboxError(
            f"The outbox's database takes statements of {most:,} bytes, and this message needs one of {needed:,}: set"
            f" the server's 'max_allowed_packet' to {enough} or more, or MAIL_MAX_SIZE to less. Nothing is stored."
        )
