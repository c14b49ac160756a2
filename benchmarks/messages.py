"""The messages that everyone composes and sends."""

from __future__ import annotations

from typing import Any

SENDER = "shop@example.org"
RECIPIENT = "customer@example.net"

_LINES = (
    "Thank you for your order. We have received it and are getting it ready.",
    "You can follow its way at any time: https://shop.example.org/orders/48151623",
    "If anything is not as it should be, answer this message; a person reads it.",
)
_TEXT = "\n\n".join(_LINES * 3)
_HTML = "".join(f'<p style="margin: 0 0 1em">{line}</p>\n' for line in _LINES * 4)

# What every row is measured with; together they are the keyword arguments of both kinds of Message.
TEXT: dict[str, Any] = {"subject": "Your order 48151623", "body": _TEXT}
HTML: dict[str, Any] = {**TEXT, "html": f"<!doctype html>\n<html><body>\n{_HTML}</body></html>\n"}
ACCENTS: dict[str, Any] = {
    "subject": "Votre commande n° 48151623 est prête",
    "body": HTML["body"].replace("order", "commandé"),
    "html": HTML["html"].replace("order", "commandé"),
}

SHORT: dict[str, Any] = {"subject": "Your code", "body": "It is 271828."}

CONTENT_ID = "logo"
SHOWING: dict[str, Any] = {
    **HTML,
    "html": HTML["html"].replace("<body>", f'<body><img src="cid:{CONTENT_ID}">'),
}

ENVELOPE: dict[str, Any] = {"sender": SENDER, "recipients": [RECIPIENT]}
