"""Retries, holds and limits as applications ask for them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from flask_outbox import Mail, Message, MessageError
from flask_outbox._policy import limits_of, retry_policy
from flask_outbox._settings import read_settings
from flask_outbox.errors import ConfigurationError, DeliveryError
from flask_outbox.rules.limits import Breaker, Limit


def message(to: str = "a@example.org") -> Message:
    return Message("Hello", recipients=[to], body="x")


# -- sends -----------------------------------------------------------------------------------------------------


def test_a_message_may_have_delays_of_its_own(app: Flask, mail: Mail) -> None:
    id = mail.send(message(), retry_delays=[5, timedelta(minutes=1)]).id
    stored = app.extensions["flask_outbox"].reports().content(id)
    assert stored.retry_delays == (5.0, 60.0)


@pytest.mark.parametrize("wrong", ["30", 30, ["30"], [-1], [None], [float("inf")]])
def test_delays_are_seconds(mail: Mail, wrong: Any) -> None:
    with pytest.raises(MessageError, match="'retry_delays' must be a list of seconds") as error:
        mail.send(message(), retry_delays=wrong)
    assert error.value.field == "retry_delays"


def test_a_message_may_be_sent_to_be_held_until_it_is_released(mail: Mail) -> None:
    id = mail.send(message(), hold="wait for the lawyer").id
    view = mail.get(id)
    assert view
    assert (view.state, view.reason) == ("held", "wait for the lawyer")
    assert mail.release(id)
    assert not mail.release(id)
    assert [one.state for one in mail.messages()] == ["queued"]


def test_a_message_in_the_queue_can_be_held(mail: Mail) -> None:
    id = mail.send(message()).id
    assert mail.hold(id, reason="a typo")
    assert not mail.hold(id)
    assert [one.reason for one in mail.messages(state="held")] == ["a typo"]


def test_many_are_held_at_once(mail: Mail) -> None:
    mail.send_many([message(), message()], hold=True)
    assert [one.reason for one in mail.messages(state="held")] == ["by hand", "by hand"]


def test_who_waits_for_the_answer_cannot_have_it_held(mail: Mail) -> None:
    with pytest.raises(DeliveryError, match="wait for it"):
        mail.send(message(), engine="immediate", hold="wait for it")


def test_a_hold_is_a_reason_or_not(mail: Mail) -> None:
    with pytest.raises(MessageError, match="'hold' must be True"):
        mail.send(message(), hold=3)  # type: ignore[arg-type]


# -- settings --------------------------------------------------------------------------------------------------


def test_limits_are_of_transports_and_of_domains() -> None:
    limits = limits_of(
        read_settings(
            {
                "MAIL_LIMITS": {
                    "default": {"second": "10", "connections": 2},
                    "@Bücher.example": {"minute": 60},
                },
                "MAIL_BREAKER": 7,
            }
        )
    )
    assert limits.transports == {"default": Limit(second=10, connections=2)}
    assert limits.domains == {"xn--bcher-kva.example": Limit(minute=60)}
    assert limits.breaker == Breaker(7, 30.0)


def test_where_nothing_is_set_there_is_a_breaker_and_no_limit() -> None:
    limits = limits_of(read_settings({}))
    assert (limits.transports, limits.domains, limits.breaker) == ({}, {}, Breaker(5, 30.0))


def test_with_0_there_is_no_breaker() -> None:
    assert limits_of(read_settings({"MAIL_BREAKER": "0"})).breaker is None


@pytest.mark.parametrize(
    "wrong", ["10/s", {"default": 10}, {"default": {"week": 1}}, {"@": {"day": 1}}, {"x": {}}]
)
def test_a_limit_of_another_kind_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="'MAIL_LIMITS' must be a mapping"):
        read_settings({"MAIL_LIMITS": wrong})


def test_a_limit_lets_something_through() -> None:
    with pytest.raises(ConfigurationError, match="integers of 1 or more"):
        limits_of(read_settings({"MAIL_LIMITS": {"default": {"day": 0}}}))


def test_a_limit_of_a_transport_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no transport; there are: default"):
        limits_of(read_settings({"MAIL_LIMITS": {"gmail.com": {"day": 1}}}))


def test_schedules_are_by_transport_and_by_outcome() -> None:
    policy = retry_policy(
        read_settings(
            {
                "MAIL_RETRY_DELAYS": [1],
                "MAIL_RETRY_DELAYS_FOR": {"transport": "5, 10", 452: [60]},
                "MAIL_TRANSPORTS": {"bulk": {"url": "smtp://b", "retry_delays": [900]}},
            }
        )
    )
    assert policy.delays == (1.0,)
    assert policy.of_transports == {"bulk": (900.0,)}
    assert policy.of_outcomes == {"transport": (5.0, 10.0), "452": (60.0,)}


@pytest.mark.parametrize("wrong", [[30], {"nonsense": [30]}, {"250": [30]}, {"transport": []}])
def test_a_schedule_for_no_outcome_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="'MAIL_RETRY_DELAYS_FOR' must be a mapping"):
        read_settings({"MAIL_RETRY_DELAYS_FOR": wrong})


def test_what_is_stored_is_on_the_lane_of_its_domain(app: Flask) -> None:
    app.config["MAIL_LIMITS"] = {"@slow.org": {"minute": 1}}
    mail = Mail(app)
    with app.app_context():
        mail.send(message("a@slow.org"))
        mail.send(message())
        lanes = [lane.lane for lane in mail.status().lanes]
    assert lanes == ["default", "default slow.org"]
    app.extensions["flask_outbox"].close()
