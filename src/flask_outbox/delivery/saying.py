"""What a worker says of transports that send no more, or again."""

from __future__ import annotations

import logging

from ..ledger.store import Shift

logger = logging.getLogger("flask_outbox")


def say_paused(transport: str, why: str) -> None:
    """It is paused, by its account's fault."""
    logger.error(
        "transport %r is paused: %s. Mend it, then restart the worker or run 'flask mail resume %s'.",
        transport,
        why,
        transport,
    )


def say_shifted(shift: Shift) -> None:
    """It counts as broken, or no longer does."""
    name = shift.transport
    if shift.until is None:
        logger.warning("transport %r answers again, its mail goes on", name)
        return
    logger.error(
        "transport %r failed %d times in a row, its mail waits and no try is counted; from time to time one"
        " message tries. 'flask mail doctor' says what is wrong, 'flask mail resume %s' tries at once.",
        name,
        shift.failures,
        name,
    )
