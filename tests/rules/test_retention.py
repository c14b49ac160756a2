"""How long what is over is kept."""

from __future__ import annotations

import pytest

from flask_outbox.errors import ConfigurationError
from flask_outbox.rules.retention import DAY, EVER, Retention


@pytest.mark.parametrize(
    ("state", "age", "over"),
    [
        ("sent", 29 * DAY, False),
        ("sent", 30 * DAY, True),
        ("cancelled", 30 * DAY, True),
        ("dead", 89 * DAY, False),
        ("dead", 90 * DAY, True),
        *((state, 9_999 * DAY, False) for state in ("queued", "sending", "held", "uncertain")),
    ],
)
def test_by_default(state: str, age: float, over: bool) -> None:
    assert Retention().is_over(state, age) is over


def test_bodies_stay_as_long_as_their_messages_unless_said() -> None:
    assert not Retention().is_empty("sent", 9_999 * DAY)
    assert Retention(bodies={"sent": DAY}).is_empty("sent", DAY)


@pytest.mark.parametrize(
    ("shortest", "interval"), [(0.0, 60.0), (3_600.0, 360.0), (30 * DAY, 3_600.0), (EVER, 3_600.0)]
)
def test_the_sooner_it_goes_the_more_often_is_looked(shortest: float, interval: float) -> None:
    assert Retention({"sent": 90 * DAY}, {"sent": shortest}).interval == interval


def test_what_is_kept_for_ever_is_never_over() -> None:
    assert Retention({}, {}).shortest == EVER


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        (lambda: Retention({"queued": DAY}), "MAIL_RETENTION'"),
        (lambda: Retention(bodies={"held": DAY}), "MAIL_RETENTION_BODY'"),
        (lambda: Retention({"sent": -1}), "MAIL_RETENTION'"),
        (lambda: Retention(keys=-1), "MAIL_RETENTION_KEY'"),
        (lambda: Retention(events=-1), "MAIL_RETENTION_EVENT'"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(rule: type[Retention], key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        rule()
