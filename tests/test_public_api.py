"""What `import flask_outbox` offers: these names, and no others."""

from __future__ import annotations

from types import ModuleType

import pytest
from blinker import NamedSignal

import flask_outbox
from flask_outbox import errors, signals


def test_everything_listed_is_there_and_everything_there_is_listed() -> None:
    there = {
        name
        for name, thing in vars(flask_outbox).items()
        if not name.startswith("_") and not isinstance(thing, ModuleType)
    }
    assert there == set(flask_outbox.__all__)


def test_every_error_is_public_and_under_one_root() -> None:
    tree = {name: thing for name, thing in vars(errors).items() if isinstance(thing, type)}
    assert tree.keys() <= set(flask_outbox.__all__)
    assert all(issubclass(error, flask_outbox.MailError) for error in tree.values())


def test_every_signal_is_public() -> None:
    sent = {name for name, thing in vars(signals).items() if isinstance(thing, NamedSignal)}
    assert sent <= set(flask_outbox.__all__)


@pytest.mark.parametrize(
    ("error", "also"),
    [
        ("BadHeaderError", ValueError),
        ("ConfigurationError", ValueError),
        ("NoRecipientsError", AssertionError),
        ("NoSenderError", AssertionError),
        ("OutboxFileError", OSError),
    ],
)
def test_an_error_is_also_what_people_catch_by_name(error: str, also: type[Exception]) -> None:
    assert issubclass(getattr(flask_outbox, error), also)


@pytest.mark.parametrize("name", sorted(flask_outbox.__all__))
def test_every_public_thing_says_what_it_is_for(name: str) -> None:
    assert (getattr(flask_outbox, name).__doc__ or "").strip()
