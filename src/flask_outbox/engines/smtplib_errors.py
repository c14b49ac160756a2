"""What the immediate engine raises: our error, that is also what Flask-Mail would have raised.

Its users catch :exc:`smtplib.SMTPRecipientsRefused` or :exc:`ConnectionRefusedError` by name. So the class is made of
both when it is needed, and smtplib is imported only then.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

from ..errors import DeliveryError
from ..mail.letter import Letter
from ..rules.outcomes import Outcome, Report

#: What smtplib raises for a refusal, by the step of the conversation.
_REFUSALS = {
    "greeting": "SMTPConnectError",
    "hello": "SMTPHeloError",
    "starttls": "SMTPResponseException",
    "auth": "SMTPAuthenticationError",
    "mail": "SMTPSenderRefused",
    "rcpt": "SMTPRecipientsRefused",
    "data": "SMTPDataError",
    "content": "SMTPDataError",
}


def delivery_error(letter: Letter, report: Report) -> DeliveryError:
    """The exception for a report in which someone was not reached, of the class that fits the first of them."""
    failed = {to: outcome for to, outcome in report if not outcome.accepted}
    text = "; ".join(f"{to}: {outcome}" for to, outcome in failed.items())
    cause = next((outcome.cause for outcome in failed.values()), "")
    error: Any = _class(cause)(text, report)
    if cause in _REFUSALS:
        error.smtp_code, error.smtp_error = error.code, error.reply.encode()
        error.sender = letter.envelope_from
    return error  # type: ignore[no-any-return]  # of a class made of two


@cache
def _class(cause: str) -> type[DeliveryError]:
    import builtins
    import smtplib
    import socket
    import ssl

    name = _REFUSALS.get(cause, cause) or "SMTPException"
    places = (smtplib, builtins, socket, ssl)
    found = (getattr(place, name) for place in places if hasattr(place, name))
    also = next(found, smtplib.SMTPException)  # another transport may call it as it likes
    members: dict[str, object] = {"__module__": __name__, "__doc__": DeliveryError.__doc__}
    if cause == "rcpt":
        members["recipients"] = property(_refused)
    return type(f"Delivery{name}", (DeliveryError, also), members)


class _Refused(Outcome):
    """An outcome that can be taken for the pair of code and text that smtplib has for a refused recipient."""

    __slots__ = ()

    def __getitem__(self, index: int) -> int | bytes:
        return (self.code, self.text.encode())[index]


def _refused(error: DeliveryError) -> dict[str, Outcome]:
    return {
        to: _Refused(*(getattr(outcome, field.name) for field in fields(Outcome)))
        for to, outcome in error.report
        if not outcome.accepted
    }
