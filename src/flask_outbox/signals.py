"""The signals an application can listen to. Sender is the Flask app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blinker import NamedSignal, Namespace


class _EmailDispatched(NamedSignal):
    """Flask-Mail's signal. Until 0.9 its sender was the message, and receivers were ``receiver(message, app)``."""

    def send(self, sender: Any = None, /, **given: Any) -> list[tuple[Callable[..., Any], Any]]:
        """Call the receivers, those written for Flask-Mail 0.9 in their order."""
        if self.is_muted:
            return []
        message = given.get("message")
        return [
            (
                hear,
                hear(message, app=sender) if _first(hear) == "message" else hear(sender, **given),
            )
            for hear in self.receivers_for(sender)
        ]


def _first(receiver: Callable[..., Any]) -> str:
    """What the first argument of a function or method is called, or ""."""
    code = getattr(receiver, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code else ()
    return next(iter(names[hasattr(receiver, "__self__") :]), "")


_signals = Namespace()

#: A message was accepted by ``mail.send``. Sent in the caller's thread with ``message``, whatever the
#: engine, also when sending is suppressed (Flask-Mail's signal).
email_dispatched: NamedSignal = _signals.setdefault(
    "email-dispatched",
    _EmailDispatched("email-dispatched", doc="A message was accepted by mail.send: message."),
)

#: A letter was stored in the outbox: ``letter``.
message_queued: NamedSignal = _signals.signal(
    "message-queued", doc="A letter was stored in the outbox: letter."
)

#: A delivery ended with at least one recipient accepted: ``letter``, ``report``.
message_sent: NamedSignal = _signals.signal(
    "message-sent", doc="A delivery ended well: letter, report."
)

#: A try failed and another is due: ``letter``, ``report``, ``due`` (Unix seconds).
message_deferred: NamedSignal = _signals.signal(
    "message-deferred", doc="A try failed, another is due: letter, report, due."
)

#: A delivery ended with no recipient reached: ``letter``, ``report``, ``reason``.
message_dead: NamedSignal = _signals.signal(
    "message-dead", doc="A delivery ended with no one reached: letter, report, reason."
)

#: A transport was paused because its account is at fault, or its breaker has opened: ``transport``, ``reason``. Of a
#: breaker the reason begins with ``breaker``, and it closes by itself.
transport_paused: NamedSignal = _signals.signal(
    "transport-paused", doc="A transport was paused: transport, reason."
)

#: A letter joined a transaction that was rolled back, or could not be stored after its commit, and is not sent:
#: ``letter``. Sent in the thread that ends the transaction, within it.
message_rolled_back: NamedSignal = _signals.signal(
    "message-rolled-back", doc="A letter is not sent, as its transaction was rolled back: letter."
)
