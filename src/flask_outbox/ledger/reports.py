"""Every read of the outbox, as plain data. Moments are Unix seconds."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Executable

from ..errors import OutboxError
from ..mail.letter import Letter
from ..rules.states import RecipientState, State, shown
from . import queries
from .claims import UNREADABLE, Lane, agenda
from .rows import document, millis, seconds
from .sends import tag_word
from .statements import statements_for
from .store import Store

#: Seconds without a sign of life after which a worker counts as silent; it gives one every ten.
SILENT = 60.0

#: A moment after all others, and an id.
_EVER, _LAST = 1e12, "g"

#: How many ids of a batch are read at once.
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class RecipientView:
    """One envelope recipient and the last answer for it."""

    address: str
    state: str
    code: int
    enhanced: str
    text: str
    remote_id: str
    updated: float


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One try. Where the recipients' outcomes differ, this is the worst.

    :param number: of the try; one that did not count has the number of the next.
    :param kind: ``"accepted"``, ``"deferred"``, ``"refused"`` or ``"unknown"``.
    :param lease_lost: its result came too late to count, somebody else had the delivery already.
    :param transcript: what was said to the server where someone did not get the mail, without secrets and contents;
        a message's last try has it alone.
    """

    number: int
    started: float
    finished: float
    transport: str
    kind: str
    scope: str
    phase: str
    code: int
    enhanced: str
    text: str
    lease_lost: bool
    transcript: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class MessageView:
    """A stored message.

    :param state: in the word that a person sees, :func:`flask_outbox.rules.states.shown`.
    :param priority: 0 high, 1 normal, 2 low.
    :param due: when the next try is due, while it is queued.
    :param tries: how many attempts have counted since it came into the queue.
    """

    id: str
    message_id: str
    sender: str
    subject: str
    size: int
    state: str
    reason: str
    transport: str
    priority: int
    created: float
    due: float
    expires: float | None
    finished: float | None
    tries: int
    recipients: tuple[RecipientView, ...]
    attempts: tuple[AttemptView, ...]

    @property
    def to(self) -> tuple[str, ...]:
        """The addresses of all recipients."""
        return tuple(recipient.address for recipient in self.recipients)


@dataclass(frozen=True, slots=True)
class LaneView:
    """A lane with live messages.

    :param due: when its first one is due.
    :param waiting: how many are live, due or not.
    """

    lane: str
    transport: str
    priority: int
    paused: bool
    due: float
    waiting: int


@dataclass(frozen=True, slots=True)
class ClosedView:
    """A lane whose limit is spent, or a transport that failed at the last try.

    :param opens: when the next message may go; None for now.
    :param failures: tries in a row that failed by the transport's fault.
    """

    lane: str
    opens: float | None
    failures: int


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker that has not said that it ended.

    :param beat: when it last said that it lives.
    """

    id: str
    host: str
    pid: int
    started: float
    beat: float


@dataclass(frozen=True, slots=True)
class Status:
    """The outbox at one moment.

    :param counts: messages by the word for their state. A count ends at 100,000, and of those sent or cancelled
        only the newest 100,000 are looked at.
    :param oldest_due: since when the longest waiting message is due, or None if none is.
    :param paused: the reasons, by transport.
    :param closed: what else holds mail back.
    """

    counts: Mapping[str, int]
    oldest_due: float | None
    lanes: tuple[LaneView, ...]
    paused: Mapping[str, str]
    workers: tuple[WorkerView, ...]
    closed: tuple[ClosedView, ...] = ()

    def working(self, now: float) -> tuple[WorkerView, ...]:
        """The workers that have shown a sign of life lately."""
        return tuple(worker for worker in self.workers if now - worker.beat < SILENT)

    def overdue(self, now: float, seconds: float) -> bool:
        """Whether something has been due for so long."""
        return self.oldest_due is not None and now - self.oldest_due >= seconds


@dataclass(frozen=True, slots=True)
class Brief:
    """What a monitor asks every few seconds: it costs the same however much is in the outbox.

    :param oldest_due: as in :class:`Status`; so is ``paused``.
    """

    oldest_due: float | None
    paused: Mapping[str, str]


class Reports:
    """Reads the outbox of a store."""

    def __init__(self, store: Store) -> None:
        self._database = store.database
        self._contents = store.contents
        self._env = store.env

    def get(self, letter_id: str) -> MessageView | None:
        """A message by its id, or None."""
        with self._database.snapshot() as connection:
            rows = connection.execute(queries.message(), {"id": letter_id}).all()
            return next(iter(_views(connection, rows, time.time())), None)

    def list(
        self,
        *,
        state: str | None = None,
        transport: str | None = None,
        tag: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[MessageView]:
        """Messages, newest first.

        :param state: only those in this state: a stored one, or a word that is shown.
        :param tag: only those filed under it.
        :param before: the id of the last message of the page before.
        :raises ValueError: there is no such state.
        """
        if state is not None and state not in queries.CONDITIONS:
            raise ValueError(f"state={state!r} must be one of: {', '.join(queries.CONDITIONS)}.")
        now = time.time()
        wanted = {"env": self._env, "before": before or _LAST, "limit": limit, "now": millis(now)}
        with self._database.snapshot() as connection:
            many = state in queries.QUEUED and _any(
                connection, queries.more_than_few_live(), wanted
            )
            found = queries.messages(state=state, transport=transport, tag=tag, many=many)
            narrowed = {"transport": transport, "tag": tag and tag_word(tag)}
            rows = connection.execute(found, {**wanted, **narrowed}).all()
            return _views(connection, rows, now)

    def of_batch(self, batch: str) -> Iterator[str]:
        """The ids of a batch's messages, in their order."""
        after, page = -1, _PAGE
        while page == _PAGE:
            asked = {"batch": batch, "after": after, "limit": _PAGE}
            with self._database.snapshot() as connection:
                rows = connection.execute(queries.of_batch(), asked).all()
            yield from (row.letter_id for row in rows)
            page = len(rows)
            after = rows[-1].position if rows else after

    def content(self, letter_id: str) -> Letter | None:
        """The letter itself, or None if there is none, or its content is no longer kept.

        :raises OutboxError: this version cannot read it.
        """
        asked = document([{"id": letter_id}])
        with self._database.snapshot() as connection:
            sql = statements_for(connection.dialect)
            kept = [row.content for row in sql.contents_of(connection, rows=asked) if row.content]
            blobs = {row.digest: bytes(row.data) for row in sql.blobs_of(connection, rows=asked)}
        try:
            return self._contents.read(letter_id, bytes(kept[0]), blobs) if kept else None
        except UNREADABLE as error:
            raise OutboxError(f"The letter {letter_id} cannot be read: {error}") from error

    def status(self, now: float) -> Status:
        """Counts, lanes, pauses and workers."""
        asked = {"env": self._env, "now": millis(now)}
        with self._database.snapshot() as connection:
            lanes = self._lanes(connection, now)
            return Status(
                _counts(connection, asked, now),
                _oldest_due(lanes, now),
                tuple(self._lane(connection, lane) for lane in lanes),
                _paused(connection, asked),
                tuple(_worker(row) for row in connection.execute(queries.workers(), asked)),
                tuple(_closings(connection, asked, lanes, now)),
            )

    def brief(self, now: float) -> Brief:
        """What of the status is told at once."""
        with self._database.snapshot() as connection:
            lanes = self._lanes(connection, now)
            return Brief(_oldest_due(lanes, now), _paused(connection, {"env": self._env}))

    def left(self) -> int:
        """How many messages are still to be sent, but for those that were not yet due for a first try."""
        now = time.time()
        asked = {"env": self._env, "now": millis(now)}
        with self._database.snapshot() as connection:
            rows = connection.execute(queries.live_counts(), asked).all()
        return sum(
            row.number for row in rows if row.tried or row.state == State.SENDING or not row.later
        )

    def _lanes(self, connection: Connection, now: float) -> Sequence[Lane]:
        return agenda(connection, statements_for(connection.dialect), self._env, now)

    def _lane(self, connection: Connection, lane: Lane) -> LaneView:
        waiting = self._waiting(connection, lane, _EVER)
        return LaneView(lane.lane, lane.transport, lane.priority, lane.paused, lane.due, waiting)

    def _waiting(self, connection: Connection, lane: Lane, until: float) -> int:
        which = {"env": self._env, "lane": lane.lane, "priority": lane.priority}
        counted = connection.execute(queries.waiting_count(), {**which, "until": millis(until)})
        return int(counted.scalar_one())


def _oldest_due(lanes: Sequence[Lane], now: float) -> float | None:
    return min((lane.due for lane in lanes if lane.due <= now), default=None)


def _paused(connection: Connection, asked: Mapping[str, object]) -> dict[str, str]:
    return {row.lane: row.reason for row in connection.execute(queries.pauses(), asked)}


def _any(connection: Connection, query: Executable, asked: Mapping[str, object]) -> bool:
    return connection.execute(query, asked).first() is not None


def _views(connection: Connection, rows: Sequence[Any], now: float) -> Sequence[MessageView]:
    """The messages of those rows, with their recipients and attempts."""
    if not rows:
        return []
    recipients, attempts = defaultdict(list), defaultdict(list)
    ids = {"ids": [row.letter_id for row in rows]}
    for row in connection.execute(queries.recipients(), ids):
        recipients[row.letter_id, row.part].append(_recipient(row))
    for row in connection.execute(queries.attempts(), ids):
        attempts[row.letter_id, row.part].append(_attempt(row))
    keys = [(row, (row.letter_id, row.part)) for row in rows]
    return [_message(row, recipients[key], attempts[key], now) for row, key in keys]


def _message(
    row: Any, recipients: Sequence[RecipientView], attempts: Sequence[AttemptView], now: float
) -> MessageView:
    state = shown(
        row.state,
        due=seconds(row.due),
        now=now,
        attempts=row.attempts,
        reason=row.reason,
        refused=sum(recipient.state == RecipientState.REFUSED for recipient in recipients),
    )
    return MessageView(
        id=row.letter_id,
        message_id=row.message_id,
        sender=row.sender,
        subject=row.subject,
        size=row.size,
        state=state,
        reason=row.reason,
        transport=row.transport,
        priority=row.priority,
        created=seconds(row.created),
        due=seconds(row.due),
        expires=None if row.expires is None else seconds(row.expires),
        finished=None if row.finished is None else seconds(row.finished),
        tries=row.attempts,
        recipients=tuple(recipients),
        attempts=tuple(attempts),
    )


def _recipient(row: Any) -> RecipientView:
    return RecipientView(
        row.address,
        row.state,
        row.code,
        row.enhanced,
        row.text,
        row.remote_id or "",
        seconds(row.updated),
    )


def _attempt(row: Any) -> AttemptView:
    return AttemptView(
        row.number,
        seconds(row.started),
        seconds(row.finished),
        row.transport,
        row.kind,
        row.scope,
        row.phase,
        row.code,
        row.enhanced,
        row.text,
        row.lease_lost,
        row.transcript or "",
    )


def _closings(
    connection: Connection, asked: Mapping[str, object], lanes: Sequence[Lane], now: float
) -> Iterator[ClosedView]:
    """What holds mail back. A transport whose last letter was given up stays one that failed, and concerns nobody."""
    wanted = {lane.transport for lane in lanes}
    for row in connection.execute(queries.closings(), asked):
        if row.failures and row.lane not in wanted:
            continue
        opens = None if row.opens is None else seconds(row.opens)
        yield ClosedView(row.lane, opens if opens and opens > now else None, row.failures)


def _worker(row: Any) -> WorkerView:
    return WorkerView(row.id, row.host, row.pid, seconds(row.started), seconds(row.beat))


def _counts(connection: Connection, asked: Mapping[str, object], now: float) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in connection.execute(queries.live_counts(), asked):
        due = _EVER if row.later else now
        word = shown(row.state, due=due, now=now, attempts=int(row.tried), reason="", refused=0)
        counts[word] += row.number
    for query in (queries.attention_counts(), queries.ended_counts()):
        for row in connection.execute(query, asked):
            counts[row.state] += row.number
    return dict(counts)
