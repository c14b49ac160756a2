"""What people and their tools are shown."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Executable, event, update

from flask_outbox.errors import OutboxError
from flask_outbox.ledger import queries, tables
from flask_outbox.ledger.reports import Reports, Status
from flask_outbox.ledger.store import Store
from flask_outbox.mail.letter import Terms
from ledger.conftest import (
    ACCEPTED,
    DEFERRED,
    NOW,
    REFUSED,
    beside,
    claim,
    letter,
    put,
    result,
    stored,
)


@pytest.fixture
def reports(store: Store) -> Reports:
    return Reports(store)


def numbers(views: object) -> list[int]:
    return [int(view.id, 16) for view in views]  # type: ignore[attr-defined]


def one_of_each(store: Store) -> float:
    """A message in every state; returns the moment at which they are."""
    now = time.time()
    put(store, 1, now=now)
    put(store, 2, now=now, terms=Terms(due=now + 1_000))
    outcomes = {3: DEFERRED, 4: ACCEPTED, 6: REFUSED}
    for number, outcome in outcomes.items():
        put(store, number, now=now, terms=Terms(priority=2))
        store.finish([result(*claim(store, now=now, priority=2), outcome, now=now)], now)
    two = letter(5, "a@example.org", "b@example.org")
    store.add([(two, Terms(priority=2))], now)
    mixed = {"a@example.org": ACCEPTED, "b@example.org": REFUSED}
    store.finish([result(*claim(store, now=now, priority=2), mixed, now=now)], now)
    put(store, 7, now=now, terms=Terms(priority=2, expires=now))
    claim(store, now=now, priority=2)
    put(store, 8, now=now)
    store.cancel(letter(8).id, now)
    put(store, 9, now=now, terms=Terms(priority=0))
    claim(store, now=now, priority=0)
    return now


STATES = {
    1: "queued",
    2: "scheduled",
    3: "retrying",
    4: "sent",
    5: "partly sent",
    6: "dead",
    7: "expired",
    8: "cancelled",
    9: "sending",
}


# -- messages --------------------------------------------------------------------------------------------------


def test_a_message_is_shown_whole(store: Store, reports: Reports) -> None:
    sent = letter(1, "a@example.org", "b@example.org")
    store.add([(sent, Terms(expires=NOW + 9, priority=0))], NOW)
    view = reports.get(sent.id)
    assert view is not None
    assert (view.id, view.message_id, view.subject) == (sent.id, sent.message_id, sent.subject)
    assert (view.sender, view.to) == ("app@example.org", ("a@example.org", "b@example.org"))
    assert (view.transport, view.priority, view.size) == ("default", 0, sent.size)
    assert (view.created, view.due, view.expires, view.finished) == (NOW, NOW, NOW + 9, None)
    assert (view.state, view.reason, view.tries, view.attempts) == ("queued", "", 0, ())


def test_an_unknown_message_is_none(reports: Reports) -> None:
    assert reports.get("0" * 32) is None
    assert reports.content("0" * 32) is None


def test_each_message_is_shown_in_the_word_for_its_state(store: Store) -> None:
    one_of_each(store)
    assert {number: stored(store, number).state for number in STATES} == STATES


def test_messages_are_listed_newest_first_in_pages(store: Store, reports: Reports) -> None:
    put(store, *range(5))
    page = reports.list(limit=3)
    assert numbers(page) == [4, 3, 2]
    assert numbers(reports.list(limit=3, before=page[-1].id)) == [1, 0]


@pytest.mark.parametrize(
    ("state", "listed"),
    [
        ("queued", [3, 2, 1]),
        ("scheduled", [2]),
        ("retrying", [3]),
        ("sending", [9]),
        ("sent", [5, 4]),
        ("partly sent", [5]),
        ("dead", [7, 6]),
        ("expired", [7]),
        ("cancelled", [8]),
        ("suppressed", []),
        ("uncertain", []),
        ("held", []),
    ],
)
def test_messages_are_listed_by_state(
    store: Store, reports: Reports, state: str, listed: list[int]
) -> None:
    one_of_each(store)
    assert numbers(reports.list(state=state)) == listed


def test_a_list_of_many_live_messages_is_the_same(
    store: Store, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_of_each(store)
    few = {word: numbers(reports.list(state=word)) for word in queries.QUEUED}
    monkeypatch.setattr(queries, "FEW", 0)
    assert {word: numbers(reports.list(state=word)) for word in queries.QUEUED} == few


def test_messages_are_listed_by_transport(store: Store, reports: Reports) -> None:
    put(store, 1)
    put(store, 2, terms=Terms(transport="other"))
    assert numbers(reports.list(transport="other")) == [2]


def test_a_list_holds_only_its_environment(store: Store) -> None:
    put(store, 1)
    staging = beside(store, "staging")
    put(staging, 2)
    assert numbers(Reports(staging).list()) == [2]
    staging.dispose()


def test_a_state_that_is_none_is_an_error(reports: Reports) -> None:
    with pytest.raises(ValueError, match="state='lost' must be one of: queued, sending"):
        reports.list(state="lost")


def test_a_letter_whose_content_is_gone_is_still_listed(store: Store, reports: Reports) -> None:
    put(store, 1)
    with store.database.transaction() as connection:
        connection.execute(update(tables.letter).values(content=None))
    assert reports.content(letter(1).id) is None
    assert numbers(reports.list()) == [1]


def test_a_letter_that_cannot_be_read_says_why(store: Store, reports: Reports) -> None:
    put(store, 1)
    with store.database.transaction() as connection:
        connection.execute(update(tables.letter).values(content=b"broken"))
    with pytest.raises(OutboxError, match=f"The letter {letter(1).id} cannot be read"):
        reports.content(letter(1).id)


# -- the status ------------------------------------------------------------------------------------------------


def test_an_empty_outbox_has_an_empty_status(reports: Reports) -> None:
    assert reports.status(NOW) == Status({}, None, (), {}, ())


def test_messages_are_counted_by_the_word_for_their_state(store: Store, reports: Reports) -> None:
    now = one_of_each(store)
    assert reports.status(now).counts == {
        "queued": 1,
        "scheduled": 1,
        "retrying": 1,
        "sending": 1,
        "sent": 2,
        "dead": 2,
        "cancelled": 1,
    }


def test_the_status_says_since_when_the_longest_waiting_is_due(
    store: Store, reports: Reports
) -> None:
    put(store, 1, terms=Terms(due=NOW + 5))
    put(store, 2, terms=Terms(priority=0, due=NOW + 3))
    assert [reports.status(NOW + later).oldest_due for later in (2, 4, 6)] == [
        None,
        NOW + 3,
        NOW + 3,
    ]


def test_the_status_shows_each_lane_with_what_waits_in_it(store: Store, reports: Reports) -> None:
    put(store, 1, 2)
    put(store, 3, terms=Terms(due=NOW + 5))
    put(store, 4, terms=Terms(transport="other", priority=2))
    store.pause("other", "maintenance", by="person")
    lanes = reports.status(NOW).lanes
    assert [(lane.transport, lane.priority, lane.paused, lane.waiting) for lane in lanes] == [
        ("default", 1, False, 3),
        ("other", 2, True, 1),
    ]


def test_what_is_left_is_all_that_waits_but_for_what_is_not_yet_due(
    store: Store, reports: Reports
) -> None:
    now = time.time()
    put(store, 1, 2)
    put(store, 3, terms=Terms(priority=0))
    put(store, 4, terms=Terms(due=now + 1_000))
    assert reports.left() == 3
    store.claim("default", 0, 1, now=now, lease=30.0)
    assert reports.left() == 3  # one is being sent


# -- cost ------------------------------------------------------------------------------------------------------


def plan(store: Store, query: Executable) -> list[str]:
    asked = {"id": "x", "ids": ["x"], "env": "", "now": 0, "until": 0, "lane": "x", "priority": 1}
    values = {**asked, "limit": 50, "transport": "x", "before": "x", "tag": "x"}
    steps: list[str] = []

    def explain(
        connection: object, cursor: object, sql: str, parameters: object, *_: object
    ) -> None:
        raw = store.database._ready().reading.raw_connection()
        steps.extend(
            step[3] for step in raw.cursor().execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
        )
        raw.close()

    engine = store.database._ready().reading
    event.listen(engine, "before_cursor_execute", explain)
    with store.database.snapshot() as connection:
        connection.execute(query, values)
    event.remove(engine, "before_cursor_execute", explain)
    return steps


def listing(state: str | None, *, many: bool = False, tag: str | None = None) -> Executable:
    return queries.messages(state=state, transport=None, tag=tag, many=many)


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    ("query", "index"),
    [
        (listing(None), "sqlite_autoindex_mail_delivery_1 (letter_id<?)"),
        (listing("dead"), "ix_mail_delivery_attention (env=? AND state=? AND letter_id<?)"),
        (listing("expired"), "ix_mail_delivery_attention (env=? AND state=? AND letter_id<?)"),
        (listing("sent"), "sqlite_autoindex_mail_delivery_1 (letter_id<?)"),
        (listing("queued", many=True), "sqlite_autoindex_mail_delivery_1 (letter_id<?)"),
        (listing("scheduled", many=True), "sqlite_autoindex_mail_delivery_1 (letter_id<?)"),
    ],
    ids=["newest", "attention", "expired", "sent", "many queued", "many scheduled"],
)
def test_a_page_is_found_by_an_index_that_is_in_order(
    store: Store, query: Executable, index: str
) -> None:
    steps = plan(store, query)
    page = steps[: steps.index("SCAN page")]
    assert page[-1].endswith(index)
    assert not any("TEMP B-TREE" in step for step in page)


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("state", [None, "queued", "dead", "sent"])
def test_a_page_of_a_tag_is_found_by_the_tag(store: Store, state: str | None) -> None:
    steps = plan(store, listing(state, tag="news"))
    assert steps[1:3] == [
        "SEARCH mail_letter_tag USING PRIMARY KEY (tag=? AND letter_id<?)",
        "SEARCH mail_delivery USING INDEX sqlite_autoindex_mail_delivery_1 (letter_id=?)",
    ]
    assert steps[3] == "SCAN page"


@pytest.mark.only("sqlite")
def test_what_is_being_sent_is_found_by_what_is_in_hand(store: Store) -> None:
    assert "SCAN in_hand USING INDEX ix_mail_delivery_leased" in plan(store, listing("sending"))


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    ("query", "index"),
    [
        (queries.message(), "sqlite_autoindex_mail_delivery_1 (letter_id=?)"),
        (queries.live_counts(), "ix_mail_delivery_live (env=?)"),
        (
            queries.attention_counts(),
            "COVERING INDEX ix_mail_delivery_attention (env=? AND state=?)",
        ),
        (queries.waiting_count(), "(env=? AND lane=? AND priority=? AND due<?)"),
        (queries.recipients(), "USING PRIMARY KEY (letter_id=?)"),
        (queries.attempts(), "ix_mail_attempt_letter_id (letter_id=?)"),
    ],
    ids=["message", "live", "attention", "lane", "recipients", "attempts"],
)
def test_what_is_looked_up_or_counted_uses_its_index(
    store: Store, query: Executable, index: str
) -> None:
    assert any(step.endswith(index) for step in plan(store, query))


def test_a_list_is_three_statements_however_long(
    store: Store, reports: Reports, traced: Callable[[], list[str]]
) -> None:
    put(store, *range(20))
    before = len(traced())
    assert len(reports.list()) == 20
    assert [statement.split()[0] for statement in traced()[before:]] == [
        "BEGIN",
        "SELECT",
        "SELECT",
        "SELECT",
        "ROLLBACK",
    ]
