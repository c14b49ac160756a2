"""``Mail``: what an application calls."""

from __future__ import annotations

import gc
import threading
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import flask_outbox
from flask_outbox import (
    BadHeaderError,
    ConfigurationError,
    DeliveryError,
    Mail,
    Message,
    MessageError,
    NoRecipientsError,
    NoSenderError,
    message_queued,
)
from flask_outbox._message import new_id


def message(**fields: Any) -> Message:
    return Message(**{"subject": "Hello", "recipients": ["a@example.org"], "body": "Hi"} | fields)


def test_send_stores_the_message_and_get_finds_it(mail: Mail) -> None:
    receipt = mail.send(message())
    assert (receipt.state, receipt.durable) == ("queued", True)
    view = mail.get(receipt.id)
    assert view is not None
    assert (view.subject, view.to, view.state) == ("Hello", ("a@example.org",), "queued")
    assert view.message_id == receipt.message_id == f"<{receipt.id}@example.org>"


def test_nothing_is_made_before_the_first_send(mail: Mail, app: Flask) -> None:
    assert not Path(app.instance_path).exists()
    before = threading.active_count()
    mail.send(message())
    assert Path(app.instance_path, "outbox.sqlite").is_file()
    assert threading.active_count() == before


@pytest.mark.parametrize("config", [{"TESTING": True}, {"MAIL_SUPPRESS_SEND": "true"}])
def test_suppressed_is_read_at_send_and_leaves_no_file(
    mail: Mail, app: Flask, config: dict[str, Any]
) -> None:
    app.config.update(config)
    with mail.record_messages() as outbox:
        sent = message()
        assert mail.send(sent).state == "suppressed"
    assert outbox == [sent]
    assert not Path(app.instance_path).exists()


def test_a_test_may_ask_for_real_sending(mail: Mail, app: Flask) -> None:
    app.config.update(TESTING=True, MAIL_SUPPRESS_SEND=False)
    assert mail.send(message()).state == "queued"


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"recipients": []}, NoRecipientsError, "recipients"),
        ({"subject": "a\nBcc: b@example.org"}, BadHeaderError, "subject"),
        ({"cc": ["not an address"]}, MessageError, "cc"),
    ],
)
def test_what_is_wrong_with_a_message_is_said_to_the_caller_and_nothing_is_stored(
    mail: Mail, app: Flask, fields: dict[str, Any], error: type[MessageError], field: str
) -> None:
    with pytest.raises(error) as caught:
        mail.send(message(**fields))
    assert caught.value.field == field
    assert not Path(app.instance_path).exists()


def test_without_any_sender_the_error_says_so(app: Flask) -> None:
    del app.config["MAIL_DEFAULT_SENDER"]
    mail = Mail(app)
    with app.app_context(), pytest.raises(NoSenderError, match="MAIL_DEFAULT_SENDER"):
        mail.send(message())


def test_a_message_sent_twice_is_two_letters(mail: Mail) -> None:
    one = message()
    first, second = mail.send(one), mail.send(one)
    assert first.id != second.id
    assert first.message_id != second.message_id


def test_a_second_send_with_the_same_key_gives_the_first_receipt(mail: Mail) -> None:
    first = mail.send(message(), key="welcome:42")
    second = mail.send(message(), key="welcome:42")
    assert (second.id, second.message_id) == (first.id, first.message_id)
    assert len(mail.messages()) == 1


def test_the_same_key_with_other_content_is_an_error(mail: Mail) -> None:
    mail.send(message(), key="welcome:42")
    with pytest.raises(MessageError, match="welcome:42"):
        mail.send(message(subject="Other"), key="welcome:42")


@pytest.mark.parametrize(
    "when",
    [{"delay": timedelta(hours=1)}, {"at": datetime.now(UTC) + timedelta(hours=1)}],
)
def test_what_is_to_go_later_is_scheduled(mail: Mail, when: dict[str, Any]) -> None:
    view = mail.get(mail.send(message(), **when).id)
    assert view is not None
    assert view.state == "scheduled"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"at": datetime.now()}, "at"),  # noqa: DTZ005 - that is the mistake
        ({"at": datetime.now(UTC), "delay": timedelta(1)}, "at"),
        ({"at": "2030-01-01"}, "at"),
        ({"delay": 60}, "delay"),
        ({"expires": 3600.0}, "expires"),
        ({"key": b"42"}, "key"),
        ({"key": ""}, "key"),
        ({"priority": "urgent"}, "priority"),
        ({"guarantee": "exactly_once"}, "guarantee"),
    ],
)
def test_an_option_that_is_wrong_is_named(mail: Mail, options: dict[str, Any], field: str) -> None:
    with pytest.raises(MessageError) as caught:
        mail.send(message(), **options)
    assert caught.value.field == field


def test_an_engine_that_does_not_exist_is_named(mail: Mail) -> None:
    with pytest.raises(
        ConfigurationError, match="'celry' is not one of: background, immediate, outbox"
    ):
        mail.send(message(), engine="celry")


def test_the_immediate_engine_raises_with_one_outcome_a_recipient(mail: Mail, app: Flask) -> None:
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=1)
    mail.init_app(app)
    with pytest.raises(DeliveryError) as caught:
        mail.send(message(), engine="immediate")
    assert list(caught.value.recipients) == ["a@example.org"]


def test_message_queued_hears_of_each_stored_letter(mail: Mail, app: Flask) -> None:
    heard: list[tuple[object, str]] = []

    def hear(sender: object, letter: Any) -> None:
        heard.append((sender, letter.id))

    with message_queued.connected_to(hear):
        receipt = mail.send(message())
    assert heard == [(app, receipt.id)]


def test_the_only_application_needs_no_context(app: Flask) -> None:
    mail = Mail(app)
    assert mail.send(message()).state == "queued"
    app.extensions["flask_outbox"].close()


def test_without_context_or_with_another_application_the_error_gives_advice(app: Flask) -> None:
    mail = Mail()
    with pytest.raises(RuntimeError, match="push an application context"):
        mail.send(message())
    with app.app_context(), pytest.raises(RuntimeError, match="init_app"):
        mail.send(message())


def test_two_applications_in_one_process_have_mails_of_their_own(
    app: Flask, tmp_path: Path
) -> None:
    other = Flask("other", instance_path=str(tmp_path / "other"))
    other.config.from_mapping(app.config)
    mail, others = Mail(app), Mail(other)
    with other.app_context():
        mine, theirs = mail.send(message()), others.send(message())
        assert (mail.get(theirs.id), others.get(mine.id)) == (None, None)
    for one in (app, other):
        one.extensions["flask_outbox"].close()


def test_an_application_that_sent_is_freed_when_it_is_gone(tmp_path: Path) -> None:
    app = Flask("passing", instance_path=str(tmp_path))
    app.config.update(MAIL_DEFAULT_SENDER="app@example.org", MAIL_WORKER="external")
    mail = Mail(app)
    mail.send(message())
    with app.app_context():
        mail.send(message(), engine="immediate", transport="null://")
    gone, process = weakref.ref(app), app.extensions["flask_outbox"].wiring.process
    del app
    gc.collect()
    assert gone() is None
    process.close()


def test_a_second_init_app_reads_the_settings_again_and_drops_nothing(
    mail: Mail, app: Flask
) -> None:
    first = mail.send(message())
    app.config["MAIL_DEFAULT_SENDER"] = "other@example.org"
    mail.init_app(app)
    second = mail.get(mail.send(message()).id)
    assert second is not None
    assert second.sender == "other@example.org"
    assert mail.get(first.id) is not None


def test_init_app_within_a_request_is_harmless(app: Flask) -> None:
    mail = Mail(app)

    @app.get("/")
    def index() -> str:
        Mail(app)
        return mail.send(message()).state

    assert app.test_client().get("/").text == "queued"
    app.extensions["flask_outbox"].close()


def test_ids_are_uuids_of_version_7_and_ordered_by_time() -> None:
    ids = [new_id(1_700_000_000.0 + number) for number in range(100)]
    assert ids == sorted(ids)
    assert {(id[12], id[16] in "89ab", len(id)) for id in ids} == {("7", True, 32)}


def test_every_public_name_is_there() -> None:
    assert all(hasattr(flask_outbox, name) for name in flask_outbox.__all__)
    assert sorted(flask_outbox.__all__) == flask_outbox.__all__
