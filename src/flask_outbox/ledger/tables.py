"""The outbox's tables.

Times are milliseconds since 1970 in UTC. A letter's id is the caller's and ordered by time (UUIDv7), so that its
rows are inserted without reading one back. There are no foreign keys: all rows of a letter are written by one
transaction of this room, and checking them would cost each send a look-up a row.

The one index that every send and every try has to move is the live one. It holds only what may still be claimed,
and since a claim sets ``due`` to the end of its lease, it serves due work and rescue alike.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import (
    CHAR,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    literal_column,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from ..mail.letter import TRANSPORT
from ..rules.states import ATTENTION, LIVE, State

#: The version of these tables, kept in ``mail_schema``.
VERSION = 2

#: An address: 64 octets of local part and 255 of domain (RFC 5321 §4.5.3.1), with the at sign.
ADDRESS = 320

#: How much of a server's reply is kept, in characters.
TEXT = 500

#: How much of a tag is, in characters.
TAG = 200

#: The one index that every send and every try moves.
LIVE_INDEX = "ix_mail_delivery_live"

#: The lane of a limit that holds back all of them.
EVERY = "*"

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def literal(value: str) -> ColumnElement[str]:
    """A word of ours inside a statement: a partial index is only used where its condition stands there literally."""
    return literal_column(f"'{value}'")


class Among(FunctionElement[bool]):
    """That a delivery is in one of some live states: as a partial index says it, and as MySQL's own column does."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: object = None) -> Among:
        """As it is: SQLite would be asked for a number that is true."""
        return self


@compiles(Among)
def _by_state(element: Among, compiler: SQLCompiler, **options: object) -> str:
    return str(compiler.process(next(iter(element.clauses)), **options))


@compiles(Among, "mysql")
@compiles(Among, "mariadb")
def _by_column(element: Among, compiler: SQLCompiler, **options: object) -> str:
    return f"({compiler.process(list(element.clauses)[1], **options)})"


def among(table: FromClause, states: Iterable[State]) -> ColumnElement[bool]:
    """The condition of a partial index, for a statement that is to use it."""
    states = list(states)
    found = table.c.state.in_([literal(state) for state in states])
    if not {*LIVE} >= {*states}:
        return found
    live = table.c.live == literal_column("1")
    return Among(found, live if {*LIVE} == {*states} else and_(live, found))


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), info={"where": where})


def live() -> str:
    """The condition of the live index."""
    return _one_of(*LIVE)


def prepare_for(dialect: str) -> None:
    """Give the partial indexes their condition in another dialect than SQLite's.

    Naming it above would load that dialect everywhere: 2 MB and 20 ms for nothing.
    """
    for table in metadata.tables.values():
        for index in table.indexes:
            if where := index.info.get("where"):
                index.dialect_options[dialect]["where"] = text(where)


def _one_of(*states: State) -> str:
    return f"state IN ({', '.join(repr(state.value) for state in states)})"


def _id(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[str]:
    return Column(name, CHAR(32), primary_key=primary_key, nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _env(*, primary_key: bool = False) -> Column[str]:
    return Column("env", String(64), primary_key=primary_key, nullable=False, server_default="")


def _serial() -> Column[int]:
    """A number that SQLite takes for its row id, so that it costs nothing."""
    return Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)


def _bytes(name: str, *, nullable: bool = False) -> Column[bytes]:
    """MySQL chooses its type by the length."""
    return Column(name, LargeBinary(2**32 - 1), nullable=nullable)


def _word(name: str, length: int = 16, *, nullable: bool = False) -> Column[str]:
    return Column(name, String(length), nullable=nullable, server_default=None if nullable else "")


schema = Table(
    "mail_schema", metadata, Column("version", Integer, primary_key=True, autoincrement=False)
)

#: Immutable, but that retention may take the content away before the row.
letter = Table(
    "mail_letter",
    metadata,
    _id("id", primary_key=True),
    _word("message_id", 998),
    _word("sender", ADDRESS),
    _word("subject", 200),
    Column("tags", Text, nullable=True),
    Column("trace", String(255), nullable=True),
    Column("size", Integer, nullable=False),
    _time("created"),
    _bytes("content", nullable=True),
)

#: Attachments, each stored once. ``touched`` stands before ``data`` so that reading it reads no more.
blob = Table(
    "mail_blob",
    metadata,
    Column("digest", CHAR(64), primary_key=True),
    Column("size", Integer, nullable=False),
    _time("touched"),
    _bytes("data"),
)

letter_blob = Table(
    "mail_letter_blob",
    metadata,
    _id("letter_id", primary_key=True),
    Column("digest", CHAR(64), primary_key=True),
    Index("ix_mail_letter_blob_digest", "digest"),
    sqlite_with_rowid=False,
)

#: What a letter is filed under.
letter_tag = Table(
    "mail_letter_tag",
    metadata,
    Column("tag", String(TAG), primary_key=True),
    _id("letter_id", primary_key=True),
    Index("ix_mail_letter_tag_letter_id", "letter_id"),
    sqlite_with_rowid=False,
)

#: A batch that is published whole, until it is over: see :mod:`.batches`.
batch = Table(
    "mail_batch",
    metadata,
    _id("id", primary_key=True),
    _word("state"),
    _word("host", 255),
    _word("boot_id", 64),
    Column("pid", Integer, nullable=False),
    _time("beat"),
)

#: The letters that were sent together. ``waiting`` is the delivery of one that is not yet published.
batch_letter = Table(
    "mail_batch_letter",
    metadata,
    _id("batch_id", primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _id("letter_id"),
    Column("waiting", Text, nullable=True),
    Index("ix_mail_batch_letter_letter_id", "letter_id"),
    sqlite_with_rowid=False,
)

#: One letter on one lane: the queue's unit, narrow and hot. ``created`` is since when it is in the queue.
delivery = Table(
    "mail_delivery",
    metadata,
    _serial(),
    _id("letter_id"),
    Column("part", SmallInteger, nullable=False),
    _env(),
    _word("state"),
    _word("reason", 200),
    _word("transport", TRANSPORT),
    _word("lane", ADDRESS),
    Column("priority", SmallInteger, nullable=False),
    _time("due"),
    _time("expires", nullable=True),
    _word("guarantee"),
    Column("size", Integer, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("rescues", Integer, nullable=False, server_default="0"),
    Column("lease_token", BigInteger, nullable=True),
    _id("worker_id", nullable=True),
    _time("content_started", nullable=True),
    _time("created"),
    _time("finished", nullable=True),
    UniqueConstraint("letter_id", "part"),
    # Only of MySQL, which knows no partial indexes: 1 or NULL, and it leads the live index.
    Column("live", SmallInteger, system=True),
    _partial(LIVE_INDEX, "env", "lane", "priority", "due", where=live()),
    # Empty at each send, and never longer than what is in hand: it frees a dead worker's leases.
    _partial("ix_mail_delivery_leased", "worker_id", where=_one_of(State.SENDING)),
    _partial("ix_mail_delivery_attention", "env", "state", "letter_id", where=_one_of(*ATTENTION)),
)

#: One envelope recipient; the last answer for it.
recipient = Table(
    "mail_recipient",
    metadata,
    _id("letter_id", primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("part", SmallInteger, nullable=False),
    _word("address", ADDRESS),
    _word("state"),
    Column("code", Integer, nullable=False, server_default="0"),
    _word("enhanced"),
    _word("text", TEXT),
    _word("remote_id", 200, nullable=True),
    _time("updated"),
    Index("ix_mail_recipient_address", "address"),
    _partial("ix_mail_recipient_remote_id", "remote_id", where="remote_id IS NOT NULL"),
    sqlite_with_rowid=False,
)

#: One try. Its outcome is the worst; where the recipients' differ, all stand in ``outcomes``. Only a letter's last
#: one has its transcript.
attempt = Table(
    "mail_attempt",
    metadata,
    _serial(),
    _id("letter_id"),
    Column("part", SmallInteger, nullable=False),
    Column("number", Integer, nullable=False),
    _time("started"),
    _time("finished"),
    _word("transport", TRANSPORT),
    _id("worker_id", nullable=True),
    _word("kind"),
    _word("scope"),
    _word("phase"),
    Column("code", Integer, nullable=False, server_default="0"),
    _word("enhanced"),
    _word("text", TEXT),
    Column("lease_lost", Boolean, nullable=False),
    Column("outcomes", Text, nullable=True),
    Column("transcript", Text, nullable=True),
    Index("ix_mail_attempt_letter_id", "letter_id"),
)

#: What is told of a message after it was handed over: bounces, complaints, opens. ``source`` and ``source_key``
#: make a repeated webhook one event.
event = Table(
    "mail_event",
    metadata,
    _serial(),
    _id("letter_id", nullable=True),
    _word("address", ADDRESS),
    _word("kind", 32),
    _time("happened"),
    _time("recorded"),
    _word("source", 64),
    _word("source_key", 200),
    _word("remote_id", 200, nullable=True),
    Column("code", Integer, nullable=False, server_default="0"),
    _word("enhanced"),
    _word("text", TEXT),
    Column("details", Text, nullable=True),
    UniqueConstraint("source", "source_key"),
    Index("ix_mail_event_letter_id", "letter_id"),
)

#: The caller's own names of sends; they outlive their letters.
key = Table(
    "mail_key",
    metadata,
    _env(primary_key=True),
    Column("name", String(200), primary_key=True),
    _id("letter_id"),
    Column("digest", CHAR(64), nullable=False),
    _time("created"),
    Index("ix_mail_key_created", "created"),
    sqlite_with_rowid=False,
)

suppression = Table(
    "mail_suppression",
    metadata,
    _env(primary_key=True),
    Column("address", String(ADDRESS), primary_key=True),
    _word("reason", 32),
    _word("source", 64),
    _id("letter_id", nullable=True),
    _time("created"),
    _time("expires", nullable=True),
    sqlite_with_rowid=False,
)

#: Whoever works for an outbox. ``role`` is what it does: a worker claims, one of a task queue too, a relay passes on.
worker = Table(
    "mail_worker",
    metadata,
    _id("id", primary_key=True),
    _env(),
    _word("role"),
    _word("host", 255),
    _word("boot_id", 64),
    Column("pid", Integer, nullable=False),
    _time("started"),
    _time("beat"),
)

#: What holds a lane back, shared by all workers: a pause, an open breaker, a spent rate. No limit, no row. ``opens``
#: is when it may be claimed from again, ``failures`` are those in a row, ``spent`` is what counts against its rates.
limit = Table(
    "mail_limit",
    metadata,
    _env(primary_key=True),
    Column("lane", String(ADDRESS), primary_key=True),
    _time("paused", nullable=True),
    _word("paused_by"),
    _word("reason", TEXT),
    _time("opens", nullable=True),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("spent", Text, nullable=True),
)

#: What is made once for an outbox, and encrypted by the application's keys: see :mod:`.cipher`.
secret = Table(
    "mail_secret",
    metadata,
    Column("name", String(64), primary_key=True),
    _bytes("value"),
)
