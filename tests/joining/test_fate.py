"""What comes of letters that joined a transaction, however that ends."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flask_outbox import message_queued, message_rolled_back
from flask_outbox.mail.letter import Letter
from joining.shop import Person, Shop, checkouts, message, said, statements
from servers.process import wait_until

OpenShop = Callable[..., Shop]


def heard(signal: object, shop: Shop) -> list[str]:
    """The subjects of the letters that a signal tells of from now on."""
    subjects: list[str] = []

    def hear(app: object, letter: Letter) -> None:
        subjects.append(letter.subject)

    signal.connect(hear, shop.app, weak=False)  # type: ignore[attr-defined]
    return subjects


# -- the whole transaction -------------------------------------------------------------------------------------


def test_a_rollback_is_told_by_a_signal(shop: Shop) -> None:
    lost = heard(message_rolled_back, shop)
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        shop.send()
        shop.session.rollback()
    assert lost == ["Hello"]


def test_a_rollback_is_logged(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        receipt = shop.send()
        shop.session.rollback()
    assert said(caplog) == [f"letter {receipt.id} is not sent: its transaction was rolled back"]


def test_it_counts_as_queued_only_after_the_commit(shop: Shop) -> None:
    queued = heard(message_queued, shop)
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        shop.send()
        before = list(queued)
        shop.session.commit()
    assert (before, queued) == ([], ["Hello"])


def test_a_receiver_that_fails_fails_no_commit(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(app: object, letter: Letter) -> None:
        raise ZeroDivisionError

    message_queued.connect(fail, shop.app)
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        shop.send()
        shop.session.commit()
        assert shop.stored() == ["Hello"]
    assert "a receiver failed" in said(caplog)[0]


@pytest.mark.only("sqlite", "postgresql+psycopg")
def test_a_commit_that_fails_is_a_rollback(shop: Shop) -> None:
    lost = heard(message_rolled_back, shop)
    with shop.app.app_context():
        shop.session.add(Person(name="Ann", brought_by=99))
        receipt = shop.send()
        with pytest.raises(DBAPIError):
            shop.session.commit()
        shop.session.rollback()
        assert (receipt.durable, shop.stored(), lost) == (False, [], ["Hello"])


def test_the_next_transaction_has_nothing_of_the_last_one(shop: Shop) -> None:
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        shop.send("First")
        shop.session.rollback()
        shop.session.add(Person(name="Bob"))
        shop.send("Second")
        shop.session.commit()
        assert shop.stored() == ["Second"]


def test_a_worker_is_woken_by_the_commit(open_shop: OpenShop) -> None:
    shop = open_shop(MAIL_WORKER="thread", MAIL_URL="null://")
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        receipt = shop.send()
        shop.session.commit()

        def sent() -> bool:
            view = shop.mail.get(receipt.id)
            return view is not None and view.state == "sent"

        wait_until(sent, "message that is sent")


@pytest.mark.only("postgresql+psycopg", "mysql+pymysql")
def test_two_phases_are_committed_together(shop: Shop) -> None:
    with shop.app.app_context(), Session(shop.engine, twophase=True) as session:
        session.add(Person(name="Ann"))
        receipt = shop.send(session=session)
        session.prepare()
        before = receipt.durable, shop.stored()
        session.commit()
        assert (before, receipt.durable, shop.stored()) == ((False, []), True, ["Hello"])


@pytest.mark.only("postgresql+psycopg")
def test_a_prepared_transaction_can_be_rolled_back(shop: Shop) -> None:
    with shop.app.app_context(), Session(shop.engine, twophase=True) as session:
        session.add(Person(name="Ann"))
        receipt = shop.send(session=session)
        session.prepare()
        session.rollback()
        assert (receipt.durable, shop.stored()) == (False, [])


@pytest.mark.only("postgresql+psycopg")
def test_a_prepared_transaction_takes_no_more(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    with shop.app.app_context(), Session(shop.engine, twophase=True) as session:
        session.add(Person(name="Ann"))
        session.prepare()
        assert shop.send(session=session).durable
        session.rollback()
    assert "it has failed, or is prepared" in said(caplog)[0]


# -- savepoints ------------------------------------------------------------------------------------------------


@pytest.fixture
def savepoints(shop: Shop) -> Shop:
    """A shop whose savepoints are real with SQLite, too: its driver begins no transaction for one."""
    if shop.engine.dialect.name == "sqlite":
        event.listen(shop.engine, "connect", _leave_transactions_alone)
        event.listen(shop.engine, "begin", _begin)
        shop.engine.dispose()
    return shop


def _leave_transactions_alone(connection: object, record: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]


def _begin(connection: object) -> None:
    connection.exec_driver_sql("BEGIN")  # type: ignore[attr-defined]


def test_a_savepoint_that_is_rolled_back_takes_its_letters_along(savepoints: Shop) -> None:
    shop = savepoints
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        shop.send("Outside")
        savepoint = shop.session.begin_nested()
        shop.send("Inside")
        savepoint.rollback()
        shop.session.commit()
        assert shop.stored() == ["Outside"]


def test_a_savepoint_that_is_released_leaves_them_to_the_transaction(savepoints: Shop) -> None:
    shop = savepoints
    with shop.app.app_context():
        with shop.session.begin_nested():
            shop.session.add(Person(name="Ann"))
            receipt = shop.send("Inside")
        before = receipt.durable, shop.stored()
        shop.session.commit()
        assert (before, shop.stored()) == ((False, []), ["Inside"])


def test_a_rollback_takes_those_of_a_released_savepoint_along(savepoints: Shop) -> None:
    shop = savepoints
    with shop.app.app_context():
        with shop.session.begin_nested():
            shop.session.add(Person(name="Ann"))
            shop.send("Inside")
        shop.session.rollback()
        assert shop.stored() == []


def test_savepoints_are_nested(savepoints: Shop) -> None:
    shop = savepoints
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        with shop.session.begin_nested():
            shop.send("First")
            inner = shop.session.begin_nested()
            shop.send("Second")
            inner.rollback()
            with shop.session.begin_nested():
                shop.send("Third")
        shop.session.commit()
        assert shop.stored() == ["First", "Third"]


def test_what_a_savepoint_changed_and_took_back_is_no_change(savepoints: Shop) -> None:
    shop = savepoints
    with shop.app.app_context():
        savepoint = shop.session.begin_nested()
        shop.session.add(Person(name="Ann"))
        shop.session.flush()
        savepoint.rollback()
        assert shop.send().durable


def test_a_failed_flush_in_a_savepoint_is_over_with_it(savepoints: Shop) -> None:
    shop = savepoints
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        shop.session.flush()
        savepoint = shop.session.begin_nested()
        shop.session.add(Person(name="Ann"))
        with pytest.raises(DBAPIError):
            shop.session.flush()
        savepoint.rollback()
        receipt = shop.send()
        shop.session.commit()
        assert (receipt.durable, shop.stored()) == (True, ["Hello"])


# -- the end of a request --------------------------------------------------------------------------------------


def test_what_a_view_leaves_is_stored_with_a_warning_that_names_it(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    @shop.app.get("/")
    def forgetful() -> str:
        shop.session.add(Person(name="Ann"))
        shop.send()
        return ""

    shop.app.test_client().get("/")
    with shop.app.app_context():
        assert shop.stored() == ["Hello"]
    assert "although the view 'forgetful' neither committed nor rolled back" in said(caplog)[0]


def test_what_a_view_leaves_by_an_error_is_not_stored(shop: Shop) -> None:
    shop.app.config["PROPAGATE_EXCEPTIONS"] = False

    @shop.app.get("/")
    def failing() -> str:
        shop.session.add(Person(name="Ann"))
        shop.send()
        raise ZeroDivisionError

    shop.app.test_client().get("/")
    with shop.app.app_context():
        assert shop.stored() == []


def test_whoever_commits_after_the_view_commits_the_mail(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    @shop.app.after_request
    def commit(response: object) -> object:
        shop.session.commit()
        return response

    @shop.app.get("/")
    def index() -> str:
        shop.session.add(Person(name="Ann"))
        shop.send()
        return ""

    shop.app.test_client().get("/")
    with shop.app.app_context():
        assert shop.stored() == ["Hello"]
    assert said(caplog) == []


def test_a_session_that_is_forgotten_rolls_back(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    session: Session | None = Session(shop.engine)
    with shop.app.app_context():
        receipt = shop.send(session=session)
    session = None
    gc.collect()
    with shop.app.app_context():
        assert shop.stored() == []
    assert said(caplog) == [f"letter {receipt.id} is not sent: its transaction was rolled back"]


# -- what it costs ---------------------------------------------------------------------------------------------


@pytest.mark.only("postgresql+psycopg")
def test_a_joined_send_is_one_statement_more(shop: Shop) -> None:
    with shop.app.app_context():
        shop.send("First")  # asks for the time and the tables
        with statements(shop.engine) as without:
            shop.session.add(Person(name="Ann"))
            shop.session.commit()
        with statements(shop.engine) as joined:
            shop.session.add(Person(name="Bob"))
            shop.send()
            shop.session.commit()
    assert len(joined) == len(without) + 1


@pytest.mark.only("postgresql+psycopg")
def test_a_joined_send_takes_no_connection_more(shop: Shop) -> None:
    with shop.app.app_context():
        shop.send("First")
        with checkouts() as taken:
            shop.session.add(Person(name="Bob"))
            shop.send()
            shop.session.commit()
    assert len(taken) == 1


def test_a_pool_of_one_connection_is_enough(shop: Shop) -> None:
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        shop.session.flush()
        shop.send("Joined")
        shop.send("Apart", session=None)
        shop.session.commit()
        assert shop.stored() == ["Apart", "Joined"]


# -- keys and batches ------------------------------------------------------------------------------------------


def test_a_rollback_frees_the_key(shop: Shop) -> None:
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        shop.send(key="welcome")
        shop.session.rollback()
        assert shop.send(key="welcome").durable


def test_a_key_twice_in_a_transaction_is_one_message(shop: Shop) -> None:
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        first, second = shop.send(key="welcome"), shop.send(key="welcome")
        shop.session.commit()
        assert (first.id == second.id, shop.stored()) == (True, ["Hello"])


def test_a_key_of_before_gives_the_first_receipt(shop: Shop) -> None:
    with shop.app.app_context():
        first = shop.send(key="welcome")
        shop.session.add(Person(name="Ann"))
        assert shop.send(key="welcome").id == first.id


def test_many_are_part_of_the_transaction(shop: Shop) -> None:
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        batch = shop.mail.send_many(message(str(number)) for number in range(1_001))
        before = shop.mail.status().counts
        shop.session.commit()
        assert (batch.count, sum(before.values())) == (1_001, 0)
        assert shop.mail.status().counts["queued"] == 1_001


def test_atomic_takes_back_what_failed_and_leaves_the_rest(savepoints: Shop) -> None:
    shop = savepoints

    def failing() -> object:
        for number in range(600):
            yield message(str(number))
        raise ZeroDivisionError

    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        with pytest.raises(ZeroDivisionError):
            shop.mail.send_many(failing(), atomic=True)  # type: ignore[arg-type]
        shop.session.commit()
        assert (shop.stored(), shop.session.query(Person).count()) == ([], 1)


def test_held_mail_stays_held(shop: Shop) -> None:
    with shop.app.app_context():
        shop.session.add(Person(name="Ann"))
        receipt = shop.send(hold=True)
        shop.session.commit()
        view = shop.mail.get(receipt.id)
        assert (receipt.state, view and view.state) == ("held", "held")
