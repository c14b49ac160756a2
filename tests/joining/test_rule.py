"""When a send joins the transaction of the application's session, and when it does not."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, insert, text, update
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import Session, sessionmaker

from flask_outbox import ConfigurationError, Mail, MessageError
from joining.shop import EXTENSIONS, Person, Shop, message, said

OpenShop = Callable[..., Shop]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_change_send_commit_is_stored_by_the_commit(open_shop: OpenShop, extension: str) -> None:
    shop = open_shop(extension)
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        receipt = shop.send()
        before = receipt.durable, shop.stored()
        shop.session.commit()
        assert (before, receipt.durable, shop.stored()) == ((False, []), True, ["Hello"])


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_change_send_rollback_is_not_sent(open_shop: OpenShop, extension: str) -> None:
    shop = open_shop(extension)
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        receipt = shop.send()
        shop.session.rollback()
        assert (receipt.durable, shop.stored()) == (False, [])


def test_change_commit_send_is_stored_at_once(shop: Shop) -> None:
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        shop.session.commit()
        assert shop.send().durable
        assert shop.stored() == ["Hello"]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_view_that_only_reads_sends_at_once(open_shop: OpenShop, extension: str) -> None:
    shop = open_shop(extension)

    @shop.app.post("/reset")
    def reset() -> str:
        person = shop.session.query(Person).filter_by(name="Ann").first()
        return str(shop.send(f"Reset for {person and person.name}").durable)

    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        shop.session.commit()
    answer = shop.app.test_client().post("/reset")
    with shop.app.app_context():
        assert (answer.text, shop.stored()) == ("True", ["Reset for Ann"])


CHANGES: dict[str, Callable[[Any], object]] = {
    "an added object": lambda session: session.add(Person(name="Bob")),
    "a changed object": lambda session: setattr(session.get(Person, 1), "name", "Anna"),
    "a deleted object": lambda session: session.delete(session.get(Person, 1)),
    "what was flushed": lambda session: (session.add(Person(name="Bob")), session.flush()),
    "insert()": lambda session: session.execute(insert(Person).values(name="Bob")),
    "update()": lambda session: session.execute(update(Person).values(name="Bob")),
    "delete()": lambda session: session.execute(delete(Person)),
    "SQL as text": lambda session: session.execute(
        text("\n -- all\n UPDATE shop_person SET name = 'x'")
    ),
    "the driver's SQL": lambda session: session.connection().exec_driver_sql(
        "DELETE FROM shop_person"
    ),
    "many at once": lambda session: session.bulk_insert_mappings(
        Person, [{"name": "Bob"}, {"name": "Cid"}]
    ),
}


@pytest.fixture
def ann(shop: Shop) -> Shop:
    """A shop that knows Ann."""
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        shop.session.commit()
    return shop


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_each_kind_of_change_is_joined(ann: Shop, change: Callable[[Any], object]) -> None:
    with ann.app.app_context():
        change(ann.session)
        assert not ann.send().durable
        ann.session.rollback()
        assert ann.stored() == []


READS: dict[str, Callable[[Any], object]] = {
    "nothing": lambda session: None,
    "an object": lambda session: session.get(Person, 1),
    "a value set to what it was": lambda session: setattr(session.get(Person, 1), "name", "Ann"),
    "SQL as text": lambda session: session.execute(text(" select name from shop_person")),
    "a common table expression": lambda session: session.execute(
        text("WITH updated AS (SELECT 1) SELECT * FROM updated")
    ),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_reading_is_not_joined(ann: Shop, read: Callable[[Any], object]) -> None:
    with ann.app.app_context():
        read(ann.session)
        assert ann.send().durable


def test_what_another_use_of_the_connection_changes_is_not_the_sessions(ann: Shop) -> None:
    with ann.app.app_context():
        ann.session.get(Person, 1)
        ann.session.rollback()
        with ann.engine.begin() as connection:
            connection.execute(update(Person).values(name="Anna"))
        ann.session.get(Person, 1)
        assert ann.send().durable


def test_none_joins_nothing(shop: Shop) -> None:
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        assert shop.send(session=None).durable
        shop.session.rollback()
        assert shop.stored() == ["Hello"]


def test_a_session_that_is_given_is_joined_without_changes(shop: Shop) -> None:
    with shop.app.app_context():
        receipt = shop.send(session=shop.session)
        assert not receipt.durable
        shop.session.commit()
        assert (receipt.durable, shop.stored()) == (True, ["Hello"])


def test_a_plain_session_can_be_given(shop: Shop) -> None:
    with shop.app.app_context():
        with Session(shop.engine) as session, session.begin():
            receipt = shop.send(session=session)
            assert not receipt.durable
        assert (receipt.durable, shop.stored()) == (True, ["Hello"])


def test_a_plain_session_that_is_closed_rolls_back(shop: Shop) -> None:
    with shop.app.app_context():
        with sessionmaker(shop.engine)() as session:
            shop.send(session=session)
        assert shop.stored() == []


def test_a_session_can_be_given_without_the_extension(database: str, shop: Shop) -> None:
    app = Flask("plain", instance_path=shop.app.instance_path)
    app.config.update(MAIL_OUTBOX_URL=database, MAIL_WORKER="external")
    mail = Mail(app)
    with app.app_context(), Session(shop.engine) as session:
        receipt = mail.send(message(), session=session)
        session.commit()
        assert receipt.durable
    app.extensions["flask_outbox"].close()


def test_a_thread_with_its_own_context_joins_nothing_of_another(shop: Shop) -> None:
    receipts = []

    def work() -> None:
        with shop.app.app_context():
            receipts.append(shop.send())

    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        thread = Thread(target=work)
        thread.start()
        thread.join()
        shop.session.rollback()
        assert (receipts[0].durable, shop.stored()) == (True, ["Hello"])


def test_a_failed_flush_sends_by_itself_and_says_so(
    ann: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with ann.app.app_context():
        ann.session.add(Person(name="Ann"))
        with pytest.raises(IntegrityError):
            ann.session.flush()
        ann.session.rollback  # noqa: B018 (nobody calls it)
        assert ann.send(session=ann.session).durable
        assert "it has failed" in said(caplog)[0]


@pytest.mark.only("postgresql+psycopg")
def test_a_failed_statement_sends_by_itself_and_says_so(
    ann: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with ann.app.app_context():
        ann.session.execute(update(Person).values(name="Anna"))
        with pytest.raises(ProgrammingError):
            ann.session.execute(text("SELECT nothing FROM nowhere"))
        assert ann.send().durable
        assert "a statement of its transaction has failed" in said(caplog)[0]


def test_an_error_handler_sends_although_nobody_rolled_back(shop: Shop) -> None:
    shop.app.config["PROPAGATE_EXCEPTIONS"] = False

    @shop.app.get("/")
    def index() -> str:
        shop.session.add(Person(name="Ann"))
        shop.session.flush()
        shop.send("Never")
        raise ZeroDivisionError

    @shop.app.errorhandler(500)
    def tell(error: Exception) -> tuple[str, int]:
        return str(shop.send("Failed").durable), 500

    answer = shop.app.test_client().get("/")
    with shop.app.app_context():
        assert (answer.text, shop.stored()) == ("True", ["Failed"])


def test_an_error_handler_sends_after_a_rollback(shop: Shop) -> None:
    @shop.app.get("/")
    def index() -> str:
        shop.session.add(Person(name="Ann"))
        shop.session.flush()
        raise ZeroDivisionError

    @shop.app.errorhandler(ZeroDivisionError)
    def tell(error: Exception) -> str:
        shop.session.rollback()
        return str(shop.send("Failed").durable)

    answer = shop.app.test_client().get("/")
    with shop.app.app_context():
        assert (answer.text, shop.stored()) == ("True", ["Failed"])


def test_other_engines_join_nothing(shop: Shop) -> None:
    shop.app.config["MAIL_URL"] = "null://"
    shop.mail.init_app(shop.app)
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        assert shop.send(engine="immediate").state == "sent"


def test_a_session_for_another_engine_is_refused(shop: Shop) -> None:
    with shop.app.app_context(), pytest.raises(ConfigurationError, match="engine that stores"):
        shop.send(engine="immediate", session=shop.session)


def test_what_is_no_session_is_refused(shop: Shop) -> None:
    with shop.app.app_context(), pytest.raises(MessageError, match="'session' must be") as caught:
        shop.send(session="mine")
    assert caught.value.field == "session"


@pytest.mark.only("sqlite")
def test_an_extension_that_does_not_know_the_app_is_refused(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match=r"call 'db\.init_app\(app\)' before"):
        Mail(Flask("other"), db=shop.db)
