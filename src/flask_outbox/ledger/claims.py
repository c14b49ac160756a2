"""A claim: what a worker has in hand until its lease ends."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..mail.letter import Letter
from ..rules.outcomes import Kind, Outcome, Report, Scope
from ..rules.retry import AT_MOST_ONCE, Plan, Standing
from ..rules.states import ENDED, RecipientState, State, ends_as
from .cipher import UnknownKeyError
from .contents import Contents
from .driver import Line
from .portions import portions
from .rows import Row, document, millis, seconds
from .statements import FAILING, PAUSED, Statements

logger = logging.getLogger("flask_outbox")


#: Bytes of letters whose attachments are read by one statement: a driver has them in several forms until its end.
PORTION = 4 * 2**20

#: What reading a stored letter raises that is damaged, or of a newer version.
UNREADABLE = (ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane with live deliveries.

    :param due: when the first of them is due, Unix seconds; of one being sent, when its lease ends.
    :param paused: nothing is to be claimed from it now: paused by hand or fault, or closed for a while.
    :param opens: in the latter case until when.
    :param failing: the last try over its transport failed by the transport's fault.
    """

    lane: str
    priority: int
    due: float
    paused: bool
    opens: float | None = None
    failing: bool = False

    @property
    def transport(self) -> str:
        # Of neither a name nor a URL is a space a part.
        return self.lane.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Lease:
    """What a claim gives.

    :param token: what every change of the claimed must name.
    :param since: milliseconds; so is ``until``.
    :param worker: the id of the worker that holds it, or None for one that is not registered.
    """

    token: int
    since: int
    until: int
    worker: str | None
    lane: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery in a worker's hands. Times are Unix seconds.

    :param recipients: all of them in the envelope's order, each with its state.
    :param attempts: how many tries have counted.
    :param tried: whether there was any before, counted or not.
    :param created: since when it is in the queue.
    :param rescues: how often a lease ended without a result.
    :param token: what every change of it must name.
    :param lane: it was claimed from; ``since`` when, in milliseconds, as what it spends of limits counts.
    """

    delivery_id: int
    part: int
    letter: Letter
    recipients: Mapping[str, RecipientState] = field(repr=False)
    transport: str
    priority: int
    expires: float | None
    guarantee: str
    attempts: int
    tried: bool
    created: float
    rescues: int
    token: int = field(repr=False)
    lease_until: float
    worker: str | None
    lane: str = ""
    since: int = 0

    @property
    def to(self) -> tuple[str, ...]:
        """The recipients that are still open."""
        return tuple(to for to, state in self.recipients.items() if state is RecipientState.OPEN)

    @property
    def standing(self) -> Standing:
        """What is known of it before the next try."""
        over = {to: state for to, state in self.recipients.items() if to not in self.to}
        return Standing(
            self.attempts,
            self.created,
            self.expires,
            self.guarantee,
            over,
            self.transport,
            self.letter.retry_delays,
        )

    @property
    def guard(self) -> Row:
        """What names it in a statement."""
        return {"id": self.delivery_id, "token": self.token}


class Ended(NamedTuple):
    """A due delivery that ended instead of being claimed, in the form that a try has."""

    letter: Letter
    report: Report
    plan: Plan


@dataclass(frozen=True, slots=True)
class _Over:
    """Why a due delivery is not sent.

    :param kind: what it means for those that are open.
    :param recipients: what becomes of those that are open.
    :param delivery: what becomes of it, or None where the recipients decide.
    """

    reason: str
    text: str
    kind: Kind
    recipients: RecipientState
    delivery: State | None = None


_EXPIRED = _Over(
    "expired", "It expired before it could be sent.", Kind.REFUSED, RecipientState.REFUSED
)
_UNANSWERED = _Over(
    "answer lost",
    "The content was sent, but the answer was lost.",
    Kind.UNKNOWN,
    RecipientState.UNCERTAIN,
)
#: The reason of what is held until there is a key that reads it.
NO_KEY = "no key"

_NO_KEY = _Over(
    NO_KEY,
    "It is encrypted, and none of the keys in MAIL_OUTBOX_KEY reads it.",
    Kind.REFUSED,
    RecipientState.OPEN,
    State.HELD,
)
_UNREADABLE = _Over(
    "unreadable",
    "This version of Flask-Outbox cannot read it.",
    Kind.REFUSED,
    RecipientState.OPEN,
    State.HELD,
)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A delivery as a claim finds it.

    :param row: of ``mail_delivery``, as it was before.
    :param letter: or why it cannot be read.
    :param positions: of the recipients in the letter's envelope.
    """

    row: Any
    letter: Letter | _Over
    recipients: Mapping[str, RecipientState]
    positions: Sequence[int]

    def over(self, now: int) -> _Over | None:
        """Whether it must not be sent: sent perhaps and not to be sent twice, too late, or unreadable."""
        if self.row.content_started is not None and self.row.guarantee == AT_MOST_ONCE:
            return _UNANSWERED
        if self.row.expires is not None and self.row.expires <= now:
            return _EXPIRED
        return self.letter if isinstance(self.letter, _Over) else None

    def claim(self, letter: Letter, lease: Lease) -> Claim:
        row = self.row
        return Claim(
            delivery_id=row.id,
            part=row.part,
            letter=letter,
            recipients=self.recipients,
            transport=row.transport,
            priority=row.priority,
            expires=None if row.expires is None else seconds(row.expires),
            guarantee=row.guarantee,
            attempts=row.attempts,
            tried=bool(row.reason),  # a new one has none
            created=seconds(row.created),
            rescues=row.rescues + (row.state == State.SENDING),
            token=lease.token,
            lease_until=seconds(lease.until),
            worker=lease.worker,
            lane=lease.lane,
            since=lease.since,
        )

    def result_row(self, why: _Over, token: int, now: int) -> Row:
        """How it ends; where somebody has the mail already, it is a sent one."""
        open_, states = RecipientState.OPEN, self.recipients.values()
        ended = why.delivery or ends_as(why.recipients if s is open_ else s for s in states)
        return {
            "id": self.row.id,
            "token": token,
            "state": ended,
            "reason": why.reason,
            "due": now,
            "counted": 0,
            "finished": now if ended in ENDED else None,
        }

    def ended(self, letter: Letter, why: _Over) -> Ended:
        """How it ended, as a try would have told it."""
        open_ = [to for to, state in self.recipients.items() if state is RecipientState.OPEN]
        outcome = Outcome(why.kind, Scope.MESSAGE, text=why.text)
        states = {**self.recipients, **dict.fromkeys(open_, why.recipients)}
        finished = dict.fromkeys(open_, (why.recipients, outcome))
        plan = Plan(ends_as(states.values()), why.reason, finished=finished, counts=False)
        return Ended(letter, Report.of(open_, outcome), plan)

    def answer_rows(self, why: _Over) -> Iterator[Row]:
        """What becomes of its open recipients."""
        for position, state in zip(self.positions, self.recipients.values(), strict=True):
            if state is RecipientState.OPEN:
                yield {
                    "letter_id": self.row.letter_id,
                    "position": position,
                    "state": why.recipients,
                    "code": 0,
                    "enhanced": "",
                    "text": why.text,
                    "remote_id": None,
                }


def agenda(line: Line, sql: Statements, env: str, now: float) -> list[Lane]:
    """The lanes that have live deliveries."""
    found = sql.agenda(line, env=env, now=millis(now))
    lanes = [_lane(row) for row in found]
    return sorted(lanes, key=lambda lane: (lane.lane, lane.priority))


def _lane(row: Any) -> Lane:
    closed = row.closed or 0
    opens = seconds(closed) if FAILING < closed < PAUSED else None
    shut = closed > FAILING
    return Lane(row.lane, row.priority, seconds(row.due), shut, opens, closed == FAILING)


def take(
    line: Line,
    sql: Statements,
    found: Sequence[Any],
    lease: Lease,
    now: int,
    stored: Contents,
) -> tuple[list[Claim], list[Ended]]:
    """Claim the deliveries of those rows, but for what must not be sent any more: that ends here."""
    ids = document([{"id": row.id, "rescued": int(row.state == State.SENDING)} for row in found])
    sql.claim(line, until=lease.until, token=lease.token, worker=lease.worker, rows=ids)
    claims, over = [], []
    for one in _with_letters(line, sql, found, stored):
        if (why := one.over(now)) is not None:
            over.append((one, why))
        elif isinstance(one.letter, Letter):
            claims.append(one.claim(one.letter, lease))
    if over:
        ended = [one.result_row(why, lease.token, now) for one, why in over]
        answers = [row for one, why in over for row in one.answer_rows(why)]
        sql.finish(line, rows=document(ended))
        sql.answer(line, rows=document(answers), now=now)
    return claims, [
        one.ended(one.letter, why) for one, why in over if isinstance(one.letter, Letter)
    ]


def within(found: Iterable[Any], budget: int, *, one_always: bool) -> Iterator[Any]:
    """As many rows as fit into so many bytes of letters.

    :param one_always: the first in any case.
    """
    used = 0
    for row in found:
        used += row.size
        if used > budget and not (one_always and used == row.size):
            return
        yield row


def _with_letters(
    line: Line, sql: Statements, found: Sequence[Any], stored: Contents
) -> Iterator[_Taken]:
    asked = document([{"id": row.letter_id} for row in found])
    recipients = defaultdict(list)
    for row in sql.recipients_of(line, rows=asked):
        recipients[row.letter_id, row.part].append(row)
    letters = list(sql.contents_of(line, rows=asked))
    contents = {row.id: row.content for row in letters}
    files = {row.id for row in letters if row.files}
    blobs = _attachments(line, sql, [row for row in found if row.letter_id in files])
    for row in found:
        to = sorted(recipients[row.letter_id, row.part], key=lambda one: one.position)
        yield _Taken(
            row,
            _read(row.letter_id, contents.get(row.letter_id), blobs, stored),
            {one.address: RecipientState(one.state) for one in to},
            [one.position for one in to],
        )


def _attachments(line: Line, sql: Statements, found: Sequence[Any]) -> dict[str, bytes]:
    blobs: dict[str, bytes] = {}
    for portion in portions(found, PORTION):
        asked = document([{"id": row.letter_id} for row in portion])
        for row in sql.blobs_of(line, rows=asked):
            blobs.setdefault(row.digest, bytes(row.data))
    return blobs


def _read(
    letter_id: str, content: bytes | None, blobs: Mapping[str, bytes], stored: Contents
) -> Letter | _Over:
    # One that cannot be read must not keep back the others of its claim: it waits for a person.
    try:
        return _UNREADABLE if content is None else stored.read(letter_id, bytes(content), blobs)
    except UnknownKeyError as error:
        logger.error("letter %s is held: %s Add the key, then restart the worker", letter_id, error)
        return _NO_KEY
    except UNREADABLE:
        logger.exception("letter %s cannot be read, it is held", letter_id)
        return _UNREADABLE
