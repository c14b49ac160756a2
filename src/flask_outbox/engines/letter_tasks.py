"""Tasks that carry whole letters: nothing is stored, and what becomes of a letter is the queue's to keep."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any

from ..delivery.courier import Watcher
from ..delivery.native import here
from ..delivery.process import STORE, Process
from ..delivery.telling import tell
from ..errors import BrokerError, MessageError
from ..mail.letter import Letter, Terms
from ..rules.outcomes import Report
from ..rules.retry import AT_MOST_ONCE, Plan, RetryPolicy, Standing, decide
from ..rules.states import RecipientState, State
from .background import refusal
from .base import Engine, Receipt
from .parcel import Parcel
from .task_queue import TaskQueue

_Batch = Sequence[tuple[Letter, Terms]]

#: Seconds until the next try where the account was at fault: nothing is stored here that could be paused.
_FAULTY = 60.0


@dataclass(frozen=True, slots=True)
class Carried:
    """What came of a task.

    :param result: of the letter, as JSON carries it: ``id``, ``message_id``, ``state``, and for each of the
        ``recipients`` that were tried ``state``, ``code``, ``enhanced`` and ``text``.
    :param again: the text of the task that is to run next, or None where the letter is over.
    :param delay: seconds after which it is to run.
    """

    result: dict[str, Any]
    again: str | None = None
    delay: float = 0.0


class LetterTaskEngine(Engine):
    """Hands each letter to a broker.

    :param announce: told of each letter that the broker has taken.
    :param watchers: told of each try.
    :param context: entered around them.
    """

    writes = True

    def __init__(
        self,
        process: Process,
        queue: TaskQueue,
        policy: RetryPolicy,
        announce: Callable[[Letter], object],
        watchers: Sequence[Watcher],
        context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._process = process
        self._queue = queue
        self._here = here()
        self._policy = policy
        self._announce = announce
        self._watchers = watchers
        self._context = context

    def submit(self, batch: _Batch) -> list[Receipt]:
        """Hand each letter to the broker.

        :raises BrokerError: it did not take one; those before are with it.
        :raises MessageError: one asks for what only the outbox can do.
        """
        for letter, terms in batch:
            _refuse(letter, terms)
        return [self._publish(letter, terms) for letter, terms in batch]

    def begin(self, batch: _Batch) -> Future[list[Receipt]]:
        """The same by a thread of its own."""
        for letter, terms in batch:
            _refuse(letter, terms)
        return self._process.thread(STORE).submit(copy_context().run, self.submit, batch)

    def _publish(self, letter: Letter, terms: Terms) -> Receipt:
        parcel = Parcel.of(letter, terms)
        try:
            document, wait = parcel.to_json(), parcel.wait()
            self._here(self._queue.publish_letter, document, terms.priority, wait)
        except Exception as error:
            # Whatever the client of a broker raises.
            raise BrokerError(
                f"The broker of {self._queue.name} did not take the message: {error!r}"
            ) from error
        self._announce(letter)
        return Receipt(letter.id, letter.message_id, "queued", durable=False)

    # -- in a task ---------------------------------------------------------------------------------------------

    def carry(self, document: str) -> Carried:
        """Try a letter once.

        :param document: of its task.
        """
        parcel = Parcel.from_json(document)
        if (wait := parcel.wait()) > 0:
            return Carried(_result(parcel, State.QUEUED), document, wait)
        letter = parcel.letter
        report = self._process.carry(letter, parcel.to, parcel.transport)
        plan = decide(
            report,
            standing=_standing(parcel),
            now=time.time(),
            policy=self._policy,
            rng=random.random,
        )
        if plan.pause:
            plan = replace(plan, due=time.time() + _FAULTY, pause="")
        tell(self._watchers, self._context, [(letter, report, plan)])
        result = _result(parcel, plan.state, report, plan)
        if plan.due is None:
            return Carried(result)
        over = {to: str(state) for to, (state, _) in plan.finished.items()}
        left = parcel.after(plan.due, plan.open or parcel.to, over, counts=plan.counts)
        return Carried(result, left.to_json(), left.wait())


def _refuse(letter: Letter, terms: Terms) -> None:
    """:raises MailError: it asks for what only the outbox can do."""
    if terms.key is not None:
        raise MessageError("'key' needs the outbox, which remembers it.", field="key")
    if terms.guarantee == AT_MOST_ONCE:
        raise MessageError(
            "guarantee='at_most_once' needs the outbox: a broker may run a task twice.",
            field="guarantee",
        )
    if terms.hold:
        raise refusal(letter, terms)


def _standing(parcel: Parcel) -> Standing:
    return Standing(
        parcel.attempts,
        parcel.created,
        parcel.expires,
        finished={to: RecipientState(state) for to, state in parcel.over.items()},
        transport=parcel.transport,
        delays=parcel.letter.retry_delays,
    )


def _result(
    parcel: Parcel, state: State, report: Report | None = None, plan: Plan | None = None
) -> dict[str, Any]:
    finished = plan.finished if plan else {}
    return {
        "id": parcel.letter.id,
        "message_id": parcel.letter.message_id,
        "state": str(state),
        "recipients": {
            to: {
                "state": str(finished[to][0] if to in finished else RecipientState.OPEN),
                "code": outcome.code,
                "enhanced": outcome.enhanced,
                "text": outcome.text,
            }
            for to, outcome in (report or ())
        },
    }
