"""Telling the watchers what came of the tries, where nobody waits for the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from ..mail.letter import Letter
from ..rules.outcomes import Report
from ..rules.retry import Plan
from .courier import Watcher

logger = logging.getLogger("flask_outbox")

#: A letter, what a try gave, and what follows.
Told = tuple[Letter, Report, Plan]


def tell(
    watchers: Sequence[Watcher],
    context: Callable[[], AbstractContextManager[object]],
    tries: Sequence[Told],
) -> None:
    """Call each watcher for each try; not on the loop.

    :param context: entered around the watchers: an application context.
    """
    with context():
        for one in tries:
            for watcher in watchers:
                try:
                    watcher(*one)
                except Exception:
                    # User code: its failure is its own, the try is over already.
                    logger.exception("a watcher failed for letter %s", one[0].id)
