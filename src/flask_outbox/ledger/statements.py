"""Every statement that writes or claims, built once a dialect as the SQL its driver takes.

Rows of which there may be any number come in as one JSON document, ``rows``, so that a group of any size is one
statement of one text.

The claim, in one transaction: look at the first due deliveries of a lane, which the live index gives in order; make
them ours, under a new token and with ``due`` at the end of the lease; read what belongs to them; commit. Only then
is the network touched. Whoever changes a claimed delivery afterwards names its token: where the row has another
one, or is no longer being sent, the lease is lost and nothing of it is changed.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Dialect,
    FromClause,
    Integer,
    String,
    Table,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.elements import ClauseElement, ColumnElement

from ..rules.states import LIVE, RecipientState, State
from .batch_statements import BatchStatements
from .clock_statements import ClockStatements
from .driver import Compiled, Types, compiled, parameters
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
    worker,
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

_SENDING = among(delivery, [State.SENDING])


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
        expired = case((_SENDING, 1), else_=0)
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
        return select(delivery.c.id).where(*_guard(given)).with_for_update(of=delivery)

    @compiled
    def finish(self) -> ClauseElement:
        given = self.given(_RESULT)
        names = ("state", "reason", "due", "finished")
        return (
            update(delivery)
            .where(*_guard(given))
            .values({name: given.c[name] for name in names})
            .values(attempts=delivery.c.attempts + given.c.counted, **_freed())
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
        return update(delivery).where(*_guard(given)).values(due=bindparam("until"))

    @compiled
    def release(self) -> ClauseElement:
        given = self.given(_CLAIM)
        return update(delivery).where(*_guard(given)).values(**_requeued())

    @compiled
    def mark_content(self) -> ClauseElement:
        given = self.given(_CLAIM)
        return update(delivery).where(*_guard(given)).values(content_started=bindparam("now"))


class _Workers(Compiled):
    @compiled
    def rescue_all(self) -> ClauseElement:
        freed = {**_requeued(), "rescues": delivery.c.rescues + 1}
        return update(delivery).where(_SENDING).values(**freed)

    @compiled
    def rescue(self) -> ClauseElement:
        """Free what the given workers had in hand."""
        given = self.given({"id": String})
        theirs = (_SENDING, delivery.c.worker_id == given.c.id)
        freed = {**_requeued(), "rescues": delivery.c.rescues + 1}
        return update(delivery).where(*theirs).values(**freed)

    @compiled
    def insert_worker(self) -> ClauseElement:
        return _insert(worker, "id env host boot_id pid started beat")

    @compiled
    def beat(self) -> ClauseElement:
        mine = worker.c.id == bindparam("worker")
        return update(worker).where(mine).values(beat=bindparam("now"))

    @compiled
    def workers_here(self) -> ClauseElement:
        here = (worker.c.host == bindparam("host"), worker.c.boot_id == bindparam("boot"))
        return select(worker.c.id, worker.c.pid).where(*here)

    @compiled
    def remove_workers(self) -> ClauseElement:
        given = self.given({"id": String})
        return delete(worker).where(worker.c.id.in_(select(given.c.id)))

    @compiled
    def remove_other_workers(self) -> ClauseElement:
        return delete(worker).where(worker.c.id != bindparam("worker"))


class _Hands(Compiled):
    @compiled
    def pause(self) -> ClauseElement:
        """A person's pause replaces a worker's, and not the other way round."""
        row = self.upsert(limit, "env lane paused paused_by reason")
        names = ("paused", "paused_by", "reason")
        stands = or_(limit.c.paused.is_(None), row.excluded.paused_by == literal("person"))
        return row.on_conflict_do_update(
            index_elements=["env", "lane"],
            set_={name: row.excluded[name] for name in names},
            where=stands,
        )

    @compiled
    def resume(self) -> ClauseElement:
        by = bindparam("by", type_=String())
        mine = [limit.c[name] == bindparam(name) for name in ("env", "lane")]
        lifted = or_(by == literal(""), limit.c.paused_by == by)
        return (
            update(limit)
            .where(*mine, limit.c.paused.is_not(None), lifted)
            .values(paused=null(), paused_by=literal(""), reason=literal(""))
        )

    @compiled
    def resume_all(self) -> ClauseElement:
        by = bindparam("by", type_=String())
        theirs = (limit.c.env == bindparam("env"), or_(by == literal(""), limit.c.paused_by == by))
        return (
            update(limit)
            .where(*theirs, limit.c.paused.is_not(None))
            .values(paused=null(), paused_by=literal(""), reason=literal(""))
        )

    @compiled
    def cancel(self) -> ClauseElement:
        waiting = among(delivery, [State.QUEUED, State.HELD])
        return (
            update(delivery)
            .where(delivery.c.letter_id == bindparam("letter"), waiting)
            .values(
                state=literal(State.CANCELLED), reason=literal("by hand"), finished=bindparam("now")
            )
        )

    @compiled
    def retry(self) -> ClauseElement:
        """Back into the queue as if it were new: no try counted, no expiry."""
        over = among(delivery, [State.UNCERTAIN, State.HELD, State.DEAD, State.CANCELLED])
        return (
            update(delivery)
            .where(delivery.c.letter_id == bindparam("letter"), over)
            .values(**_requeued(), reason=literal("by hand"), attempts=0, expires=null())
            .values(created=bindparam("now"), finished=null(), content_started=null())
        )

    @compiled
    def reopen(self) -> ClauseElement:
        """The recipients that a retry is for; who has the mail does not get it again."""
        failed = [literal(RecipientState.REFUSED), literal(RecipientState.UNCERTAIN)]
        return (
            update(recipient)
            .where(recipient.c.letter_id == bindparam("letter"), recipient.c.state.in_(failed))
            .values(state=literal(RecipientState.OPEN), updated=bindparam("now"))
        )


class Statements(
    _Sends, _Claims, _Results, _Workers, _Hands, Purges, BatchStatements, ClockStatements
):
    """All of them."""


def _insert(table: Table, columns: str) -> Insert:
    return insert(table).values(parameters(columns)).inline()


def _guard(given: FromClause) -> tuple[ColumnElement[bool], ...]:
    return delivery.c.id == given.c.id, delivery.c.lease_token == given.c.token, _SENDING


def _freed() -> dict[str, ColumnElement[Any]]:
    return {"lease_token": null(), "worker_id": null()}


def _requeued() -> dict[str, ColumnElement[Any]]:
    return {"state": literal(State.QUEUED), "due": bindparam("now"), **_freed()}


_known: dict[tuple[type[Dialect], str], Statements] = {}


def statements_for(dialect: Dialect) -> Statements:
    """The statements of a connection's dialect."""
    kind = (type(dialect), dialect.paramstyle)
    if kind not in _known:
        _known[kind] = Statements(dialect)
    return _known[kind]
