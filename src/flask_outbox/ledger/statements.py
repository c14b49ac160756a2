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
    Dialect,
    Integer,
    String,
    Table,
    bindparam,
    case,
    exists,
    func,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.elements import ClauseElement

from ..rules.states import LIVE, State
from .batch_statements import BatchStatements
from .changes import SENDING, freed, guard, requeued
from .clock_statements import ClockStatements
from .driver import Compiled, Types, compiled, parameters
from .hand_statements import HandStatements, WorkerStatements
from .joined_statements import JoinedStatements
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
        row = self.upsert(key, "env name letter_id digest created")
        return row.on_conflict_do_nothing(index_elements=["env", "name"])

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
        row = self.upsert(blob, "digest size touched data")
        touched = {"touched": row.excluded.touched}
        return row.on_conflict_do_update(index_elements=["digest"], set_=touched)

    @compiled
    def insert_letter_blob(self) -> ClauseElement:
        return _insert(letter_blob, "letter_id digest")

    @compiled
    def insert_letter_tag(self) -> ClauseElement:
        return _insert(letter_tag, "tag letter_id")


class _Claims(Compiled):
    @compiled
    def agenda(self) -> ClauseElement:
        """The first delivery of each lane, found by two seeks a lane: to its next priority, else to the next lane."""
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
        shut = or_(limit.c.paused.is_not(None), limit.c.opens > bindparam("now"))
        its_limits = (limit.c.env == its.env, limit.c.lane.in_([its.lane, literal(EVERY)]))
        closed = exists().where(*its_limits, shut)
        return select(its.lane, its.priority, its.due, closed.label("closed")).select_from(
            head.join(row, its.id == head.c.id)
        )

    @compiled
    def candidates(self) -> ClauseElement:
        lane = [delivery.c[name] == bindparam(name) for name in ("env", "lane", "priority")]
        names = (
            "id letter_id part state transport priority expires guarantee size attempts rescues content_started"
            " created reason"
        )
        return (
            select(*[delivery.c[name] for name in names.split()])
            .where(among(delivery, LIVE), *lane, delivery.c.due <= bindparam("now"))
            .order_by(delivery.c.due, delivery.c.id)
            .limit(bindparam("limit", type_=Integer))
            .with_for_update(skip_locked=True)
        )

    @compiled
    def claim(self) -> ClauseElement:
        given = self.given({"id": BigInteger})
        expired = case((SENDING, 1), else_=0)
        return (
            update(delivery)
            .where(delivery.c.id == given.c.id)
            .values(
                state=literal(State.SENDING),
                due=bindparam("until"),
                lease_token=bindparam("token"),
                worker_id=bindparam("worker"),
                rescues=delivery.c.rescues + expired,
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
        given = self.given({"id": String})
        return select(letter.c.id, letter.c.content).where(letter.c.id == given.c.id)

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
        given = self.given(_RESULT)
        names = ("state", "reason", "due", "finished")
        return (
            update(delivery)
            .where(*guard(given))
            .values({name: given.c[name] for name in names})
            .values(attempts=delivery.c.attempts + given.c.counted, **freed())
            .values(content_started=null())
        )

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
        columns = (
            "letter_id part number started finished transport worker_id kind scope phase code enhanced text"
            " lease_lost outcomes transcript"
        )
        return _insert(attempt, columns)

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
    BatchStatements,
    ClockStatements,
):
    """All of them."""


def _insert(table: Table, columns: str) -> Insert:
    return insert(table).values(parameters(columns)).inline()


_known: dict[tuple[type[Dialect], str], Statements] = {}


def statements_for(dialect: Dialect) -> Statements:
    """The statements of a connection's dialect."""
    kind = (type(dialect), dialect.paramstyle)
    if kind not in _known:
        _known[kind] = Statements(dialect)
    return _known[kind]
