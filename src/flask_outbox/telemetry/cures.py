"""What a beginner should do about a failure, in the words of the settings."""

from __future__ import annotations

from collections.abc import Callable

from ..rules.outcomes import Kind, Outcome, Scope

_Row = tuple[Callable[[Outcome], bool], str]

#: The first row that fits is said.
_CURES: tuple[_Row, ...] = (
    (
        lambda o: "certificate" in o.text.lower(),
        "The server's certificate is not trusted: give its authority's file in MAIL_TLS_CA, or on a private"
        " network set MAIL_TLS_VERIFY=False.",
    ),
    (
        lambda o: o.scope is Scope.ACCOUNT and o.code in {530, 534, 535, 538},
        "The server wants another login: check MAIL_USERNAME and MAIL_PASSWORD; many providers want an"
        " app password here, not the account's own.",
    ),
    (
        lambda o: o.scope is Scope.ACCOUNT,
        "The server does not let this account send so: check MAIL_DEFAULT_SENDER (the domain may have to be"
        " verified) and MAIL_USERNAME.",
    ),
    (
        lambda o: "no transport named" in o.text,
        "No mail server is configured: set MAIL_URL or MAIL_SERVER.",
    ),
    (
        lambda o: o.scope is Scope.TRANSPORT and o.code == 0 and "refused" in o.text.lower(),
        "Nothing listens there: check MAIL_SERVER and MAIL_PORT, and that the mail server runs.",
    ),
    (
        lambda o: o.kind is Kind.DEFERRED and o.scope is Scope.TRANSPORT and o.code == 0,
        "The mail server was not reached: check MAIL_SERVER and MAIL_PORT.",
    ),
)


def cure(outcome: Outcome, prefix: str = "") -> str:
    """The advice for an outcome, or ""."""
    for fits, advice in _CURES:
        if fits(outcome):
            return prefix + advice
    return ""
