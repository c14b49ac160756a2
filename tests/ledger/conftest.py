"""A real outbox in a temporary folder, and what goes into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from sqlite3 import Connection

import pytest
from sqlalchemy import event

from flask_outbox.ledger.reports import MessageView, Reports
from flask_outbox.ledger.store import Claim, Finished, Store
from flask_outbox.mail.address import Address
from flask_outbox.mail.letter import Letter, Part, Terms
from flask_outbox.rules.outcomes import Kind, Outcome, Report
from flask_outbox.rules.retry import RetryPolicy, Standing, decide

NOW = 1_700_000_000.0
LEASE = 30.0

ACCEPTED = Outcome(Kind.ACCEPTED, code=250, enhanced="2.0.0", text="queued", remote_id="q1")
DEFERRED = Outcome(Kind.DEFERRED, code=451, enhanced="4.7.1", text="later")
REFUSED = Outcome(Kind.REFUSED, code=550, enhanced="5.1.1", text="no such user")


def letter(number: int, *recipients: str, attached: Sequence[bytes] = ()) -> Letter:
    to = recipients or (f"user{number}@example.org",)
    return Letter(
        id=f"{number:032x}",
        message_id=f"<{number}@example.org>",
        date=1_700_000_000,
        envelope_from="app@example.org",
        envelope_to=to,
        sender=Address("app@example.org"),
        to=tuple(map(Address, to)),
        subject=f"Number {number}",
        text="Hello\n",
        attachments=tuple(
            Part(f"{n}.bin", "application/pdf", data) for n, data in enumerate(attached)
        ),
    )


def put(store: Store, *numbers: int, now: float = NOW, terms: Terms | None = None) -> None:
    store.add([(letter(number), terms or Terms()) for number in numbers], now)


def claim(store: Store, limit: int = 100, *, now: float = NOW, priority: int = 1) -> list[Claim]:
    return store.claim("default", priority, limit, now=now, lease=LEASE)


def result(claim: Claim, outcome: Outcome | dict[str, Outcome], now: float = NOW) -> Finished:
    """What a worker would record."""
    outcomes = outcome if isinstance(outcome, dict) else dict.fromkeys(claim.to, outcome)
    report = Report(outcomes, "default")
    standing = Standing(
        claim.attempts, claim.created, claim.expires, claim.guarantee, claim.recipients
    )
    plan = decide(report, standing=standing, now=now, policy=RetryPolicy(), rng=lambda: 0.5)
    return Finished(claim, report, plan, now, now + 0.25)


def stored(store: Store, number: int) -> MessageView:
    """A message that must be there."""
    view = Reports(store).get(letter(number).id)
    assert view is not None
    return view


def ids(claims: Sequence[Claim]) -> list[int]:
    """The numbers of the claimed letters."""
    return [int(claim.letter.id, 16) for claim in claims]


def beside(store: Store, env: str = "") -> Store:
    """Another one of the same database, as another process has it."""
    return Store(store.database._url.render_as_string(hide_password=False), env=env)


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    store = Store(database)
    yield store
    store.dispose()


@pytest.fixture
def traced(store: Store) -> Callable[[], list[str]]:
    """The statements that reach SQLite from now on, as their first two words; one for each run of the same."""
    seen: list[str] = []

    def trace(connection: Connection, *_: object) -> None:
        connection.set_trace_callback(seen.append)

    engines = store.database._ready()
    for engine in (engines.durable, engines.relaxed):
        event.listen(engine, "checkout", trace)

    def statements() -> list[str]:
        words = (" ".join(sql.split()[:3]) for sql in seen)
        return [run for run, _ in groupby(words)]

    return statements


@pytest.fixture
def effort(store: Store) -> Callable[[Callable[[], object]], int]:
    """How many instructions SQLite's machine needs for something: a cost that does not wobble."""
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1

    def watch(connection: Connection, *_: object) -> None:
        connection.set_progress_handler(one_more, 1)

    event.listen(store.database._ready().relaxed, "checkout", watch)

    def needed(action: Callable[[], object]) -> int:
        before = done
        action()
        return done - before

    return needed
