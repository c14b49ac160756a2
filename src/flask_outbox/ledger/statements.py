"""Every statement that writes or claims, built once a dialect as the SQL its driver takes.

Rows of which there may be any number come in as one JSON document, ``rows``, so that a group of any size is one
statement of one text.

The claim, in one transaction: look at the first due deliveries of a lane, which the live index gives in order; make
them ours, under a new token and with ``due`` at the end of the lease; read what belongs to them; commit. Only then
is the network touched. Whoever changes a claimed delivery afterwards names its token: where the row has another
one, or is no longer being sent, the lease is lost and nothing of it is changed.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Dialect,
    FromClause,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    null,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.elements import ClauseElement, ColumnElement

from ..rules.states import LIVE, State
from .batch_statements import BatchStatements
from .changes import freed, guard, requeued
from .cipher_statements import CipherStatements
from .clock_statements import ClockStatements
from .driver import Compiled, Types, compiled, parameters
from .hand_statements import HandStatements, WorkerStatements
from .joined_statements import JoinedStatements
from .limit_statements import LimitStatements
from .purge import Purges
from .tables import (
    EVERY,
    among,
    attempt,
    blob,
    delivery,
    key,
    letter,
    letter_blob,
    letter_tag,
    limit,
    literal,
    recipient,
)
from .task_statements import TaskStatements

#: What the agenda says of a lane that is paused, and of one whose transport failed at the last try.
PAUSED, FAILING = 2**62, 1

#: What guards a change of a claimed delivery.
_CLAIM: Types = {"id": BigInteger, "token": BigInteger}

_RESULT: Types = {
    **_CLAIM,
    "state": String,
    "reason": String,
    "due": BigInteger,
    "counted": Integer,
    "finished": BigInteger,
}

_ANSWER: Types = {
    "letter_id": String,
    "position": Integer,
    "state": String,
    "code": Integer,
    "enhanced": String,
    "text": String,
    "remote_id": String,
}

_ATTEMPT: Types = {
    "letter_id": String,
    "part": SmallInteger,
    "number": Integer,
    "started": BigInteger,
    "finished": BigInteger,
    "transport": String,
    "worker_id": String,
    "kind": String,
    "scope": String,
    "phase": String,
    "code": Integer,
    "enhanced": String,
    "text": String,
    "lease_lost": Boolean,
    "outcomes": Text,
    "transcript": Text,
}


class _Sends(Compiled):
    @compiled
    def insert_letter(self) -> ClauseElement:
        return _insert(letter, "id message_id sender subject tags size created content")

    @compiled
    def insert_delivery(self) -> ClauseElement:
        columns = "letter_id part env state reason transport lane priority due expires guarantee size created"
        return _insert(delivery, columns)

    @compiled
    def insert_recipient(self) -> ClauseElement:
        return _insert(recipient, "letter_id position part address state updated")

    @compiled
    def insert_key(self) -> ClauseElement:
        """Changes no row where the name is taken."""
        return self.insert_new(key, "env name letter_id digest created", "env name")

    @compiled
    def find_key(self) -> ClauseElement:
        mine = (key.c.env == bindparam("env"), key.c.name == bindparam("name"))
        return select(key.c.letter_id, key.c.digest).where(*mine)

    @compiled
    def fresh_blobs(self) -> ClauseElement:
        """Those of the given digests that the collector leaves alone long enough."""
        given = self.given({"digest": String})
        fresh = (blob.c.digest == given.c.digest, blob.c.touched > bindparam("since"))
        return select(blob.c.digest).where(*fresh)

    @compiled
    def insert_blob(self) -> ClauseElement:
        return self.upsert(blob, "digest size touched data", "digest", "touched")

    @compiled
    def insert_letter_blob(self) -> ClauseElement:
        return _insert(letter_blob, "letter_id digest")

    @compiled
    def insert_letter_tag(self) -> ClauseElement:
        return _insert(letter_tag, "tag letter_id")


class _Claims(Compiled):
    @compiled
    def agenda(self) -> ClauseElement:
        """The first delivery of each lane, found by two seeks a lane: to its next priority, else to the next lane.

        ``closed`` is :data:`PAUSED`, or until when it is closed, or :data:`FAILING`.
        """
        if self.mysql:
            groups = self._first_of_groups()
            return self._with_limits(groups, groups)
        if self.dialect.name == "postgresql":
            head = self._lateral_heads()
            return self._with_limits(head, head)
        row, following = delivery.alias("this"), delivery.alias("following")
        its, next_ = row.c, following.c
        live = (next_.env == bindparam("env"), among(following, LIVE))
        order = (next_.lane, next_.priority, next_.due)
        first = select(next_.id).where(*live).order_by(*order).limit(1)
        # One comparison of (lane, priority) as a row would pass over all that are equal, in SQLite.
        lower = first.where(next_.lane == its.lane, next_.priority > its.priority).correlate(row)
        other = first.where(next_.lane > its.lane).correlate(row)
        step = func.coalesce(lower.scalar_subquery(), other.scalar_subquery())
        head = select(first.scalar_subquery().label("id")).cte("head", recursive=True)
        head = head.union_all(select(step).select_from(head.join(row, its.id == head.c.id)))
        return self._with_limits(row, head.join(row, its.id == head.c.id))

    def _lateral_heads(self) -> FromClause:
        """PostgreSQL seeks by (lane, priority) as a row, and would read all deliveries to join a few by their ids."""
        c = delivery.c
        lane = (c.lane, c.priority)
        first = (
            select(c.env, *lane, c.transport, c.due)
            .where(c.env == bindparam("env"), among(delivery, LIVE))
            .order_by(*lane, c.due)
            .limit(1)
        )
        head = first.cte("head", recursive=True)
        after = first.where(tuple_(*lane) > tuple_(head.c.lane, head.c.priority)).correlate(head)
        following = after.lateral("following")
        return head.union_all(select(*following.c).select_from(head.join(following, true())))

    def _first_of_groups(self) -> FromClause:
        """MySQL finds the first of each group by a seek, where all that leads the index is named."""
        c = delivery.c
        its = (c.env == bindparam("env"), among(delivery, LIVE))
        transport = func.substring_index(c.lane, literal(" "), 1).label("transport")
        return (
            select(c.env, c.lane, c.priority, transport, func.min(c.due).label("due"))
            .where(*its)
            .group_by(c.live, c.env, c.lane, c.priority)
            .subquery("this")
        )

    def _with_limits(self, row: FromClause, source: FromClause) -> ClauseElement:
        its = row.c
        names = limit.c.lane.in_([its.lane, its.transport, literal(EVERY)])
        closed = case(
            (limit.c.paused.is_not(None), _number(PAUSED)),
            (limit.c.opens > bindparam("now"), limit.c.opens),
            (limit.c.failures > 0, _number(FAILING)),
            else_=_number(0),
        )
        worst = select(func.max(closed)).where(limit.c.env == its.env, names).correlate(row)
        columns = (its.lane, its.priority, its.due, worst.scalar_subquery().label("closed"))
        return select(*columns).select_from(source)

    @compiled
    def claim(self) -> ClauseElement:
        given = self.given({"id": BigInteger, "rescued": Integer})
        return (
            update(delivery)
            .where(delivery.c.id == given.c.id)
            .values(
                state=literal(State.SENDING),
                due=bindparam("until"),
                lease_token=bindparam("token"),
                worker_id=bindparam("worker"),
                rescues=delivery.c.rescues + given.c.rescued,
            )
        )

    @compiled
    def recipients_of(self) -> ClauseElement:
        given = self.given({"id": String})
        c = recipient.c
        wanted = (c.letter_id, c.part, c.position, c.address, c.state)
        return select(*wanted).where(c.letter_id == given.c.id)

    @compiled
    def contents_of(self) -> ClauseElement:
        """``files``: whether any blobs belong to it."""
        given = self.given({"id": String})
        files = select(letter_blob.c.letter_id).where(letter_blob.c.letter_id == given.c.id)
        wanted = (letter.c.id, letter.c.content, files.exists().label("files"))
        return select(*wanted).where(letter.c.id == given.c.id)

    @compiled
    def blobs_of(self) -> ClauseElement:
        given = self.given({"id": String})
        wanted = select(letter_blob.c.digest).where(letter_blob.c.letter_id == given.c.id)
        return select(blob.c.digest, blob.c.data).where(blob.c.digest.in_(wanted))


class _Results(Compiled):
    @compiled
    def held(self) -> ClauseElement:
        """Those of the given claims whose lease still is ours."""
        given = self.given(_CLAIM)
        return select(delivery.c.id).where(*guard(given)).with_for_update(of=delivery)

    @compiled
    def finish(self) -> ClauseElement:
        """Where :attr:`at_once`, it gives the ids of those whose lease still was ours."""
        given = self.given(_RESULT)
        names = ("state", "reason", "due", "finished")
        finish = (
            update(delivery)
            .where(*guard(given))
            .values({name: given.c[name] for name in names})
            .values(attempts=delivery.c.attempts + given.c.counted, **freed())
            .values(content_started=null())
        )
        return finish.returning(delivery.c.id) if self.at_once else finish

    @compiled
    def answer(self) -> ClauseElement:
        """What a try said of single recipients; a remote id once known is kept."""
        given = self.given(_ANSWER)
        c = recipient.c
        names = ("state", "code", "enhanced", "text")
        return (
            update(recipient)
            .where(c.letter_id == given.c.letter_id, c.position == given.c.position)
            .values({name: given.c[name] for name in names})
            .values(
                remote_id=func.coalesce(given.c.remote_id, c.remote_id), updated=bindparam("now")
            )
        )

    @compiled
    def insert_attempt(self) -> ClauseElement:
        return _insert(attempt, " ".join(_ATTEMPT))

    @compiled
    def insert_attempts(self) -> ClauseElement:
        """As many as there are, by one statement where a driver would send one for each."""
        given = self.given(_ATTEMPT)
        return insert(attempt).from_select(list(_ATTEMPT), select(*given.c), include_defaults=False)

    @compiled
    def drop_transcripts(self) -> ClauseElement:
        """Those of the given deliveries."""
        given = self.given({"letter_id": String, "part": Integer})
        theirs = (attempt.c.letter_id == given.c.letter_id, attempt.c.part == given.c.part)
        kept = attempt.c.transcript.is_not(None)
        return update(attempt).where(*theirs, kept).values(transcript=null())

    @compiled
    def extend(self) -> ClauseElement:
        given = self.given(_CLAIM)
        return update(delivery).where(*guard(given)).values(due=bindparam("until"))

    @compiled
    def release(self) -> ClauseElement:
        given = self.given(_CLAIM)
        return update(delivery).where(*guard(given)).values(**requeued())

    @compiled
    def mark_content(self) -> ClauseElement:
        given = self.given(_CLAIM)
        return update(delivery).where(*guard(given)).values(content_started=bindparam("now"))


class Statements(
    _Sends,
    JoinedStatements,
    _Claims,
    _Results,
    WorkerStatements,
    HandStatements,
    Purges,
    CipherStatements,
    BatchStatements,
    ClockStatements,
    LimitStatements,
    TaskStatements,
):
    """All of them."""


def _number(number: int) -> ColumnElement[int]:
    return literal_column(str(number), BigInteger)


def _insert(table: Table, columns: str) -> Insert:
    return insert(table).values(parameters(columns)).inline()


_known: dict[tuple[object, ...], Statements] = {}


def statements_for(dialect: Dialect) -> Statements:
    """The statements of a connection's dialect."""
    # MySQL's has two dialects under one name.
    kind = (type(dialect), dialect.paramstyle, getattr(dialect, "is_mariadb", False))
    if kind not in _known:
        _known[kind] = Statements(dialect)
    return _known[kind]
