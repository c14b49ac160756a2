"""The immediate engine beside its transport: what others make of a send is not the send's."""

from __future__ import annotations

import pytest
from flask import Flask

from flask_outbox import Mail, Message
from flask_outbox.signals import message_sent


def test_a_receiver_that_fails_does_not_fail_the_send(
    app: Flask, mail: Mail, caplog: pytest.LogCaptureFixture
) -> None:
    """The server has the mail: a view that answered with an error would have it sent again."""

    def fail(sender: object, **more: object) -> None:
        raise ValueError("a receiver's own")

    with message_sent.connected_to(fail):
        receipt = mail.send(
            Message("Hello", recipients=["a@example.org"], body="Hi"),
            engine="immediate",
            transport="null://",
        )
    assert receipt.state == "sent"
    assert "a receiver's own" in caplog.text
