"""Which sends an answer waits for."""

from __future__ import annotations

import threading

import pytest

from flask_outbox.delivery import threads
from flask_outbox.delivery.threads import ThreadSends

REQUEST = object()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE", 1000.0)


def answer(sends: ThreadSends, request: object = REQUEST) -> threading.Thread:
    """The thread of an answer that is about to leave."""
    thread = threading.Thread(target=sends.wait, args=(request,), daemon=True)
    thread.start()
    return thread


def leaves(thread: threading.Thread) -> bool:
    thread.join(10)
    return not thread.is_alive()


@pytest.mark.parametrize("request_of_send", [None, REQUEST])
def test_an_answer_waits_for_the_sends_of_its_own_request_and_of_none(
    request_of_send: object | None,
) -> None:
    sends = ThreadSends()
    send = sends.begin(request_of_send)
    leaving = answer(sends)
    leaving.join(0.05)
    assert leaving.is_alive()
    sends.end(send)
    assert leaves(leaving)


def test_an_answer_does_not_wait_for_the_sends_of_another_request() -> None:
    sends = ThreadSends()
    sends.begin(object())
    assert leaves(answer(sends))


def test_an_answer_does_not_wait_for_a_send_that_it_is_part_of() -> None:
    sends = ThreadSends()
    sends.begin(None)
    sends.wait(REQUEST)


def test_an_answer_that_has_waited_long_enough_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE", 0.01)
    sends = ThreadSends()
    sends.begin(None)
    assert leaves(answer(sends))
